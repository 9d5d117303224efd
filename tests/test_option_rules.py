"""Rules of options that trainers and servers refuse: every branch of them, and that they speak of what is installed."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
from test_lint import codes, folder
from trl.trainer import dpo_trainer, kto_trainer, reward_trainer

from llmrecipe import facts
from llmrecipe.lint import answering, engine, extra_options, judging, online_options, processes
from llmrecipe.methods import METHODS

__all__ = ["folder"]  # the fixture of the data files

FIELDS = {name for method in METHODS for name in facts.trainer_fields(method.config)}


def tuned(training: str = "{}", method: str = "{kind: sft}", *, more: str = "", validation: bool = False) -> str:
    """A recipe that fine-tunes; the format of its rows follows from the method."""
    kind = re.search(r"kind: (\w+)", method)
    assert kind is not None
    paired, online = kind[1] in ("dpo", "cpo", "orpo", "kto", "reward"), kind[1] in ("grpo", "rloo", "ppo")
    rows = ("pairs", "preference") if paired else ("problems", "prompt") if online else ("chats", "messages")
    held_out = ", validation: {fraction: 0.1}" if validation else ""
    return (
        "version: 1\nname: style\nmodel: {base: Qwen/Qwen3-0.6B}\n"
        f"data: {{train: [{{kind: files, paths: [{rows[0]}.jsonl], format: {rows[1]}}}]{held_out}}}\n"
        f"method: {method}\ntraining: {training}\n{more}"
    )


def served(extra: str, *, base: str = "Qwen/Qwen3-8B", options: str = "", devices: int = 1) -> str:
    hardware = f"accelerator: h200-141gb, num_accelerators: {devices}"
    return (
        f"version: 1\nname: chat\nmodel: {{base: {base}}}\nhardware: {{{hardware}}}\n"
        f"serving: {{kind: vllm, max_model_len: 4096, {options}extra: {{{extra}}}}}\n"
    )


GRPO = "{kind: grpo, reward_functions: [{kind: numeric_answer}], %s}"
GPU = "hardware: {accelerator: h200-141gb, num_accelerators: %d}\n"
DISTILLED = "{kind: distillation, teacher_model: Qwen/Qwen3-4B, use_vllm: true}"
CUT = "{extra: {vllm_importance_sampling_mode: token_truncate, %s}}"
SPREAD = GPU + "distributed: {kind: %s}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (tuned("{extra: {log_level: loud}}"), {"LR378"}),
        (tuned("{extra: {debug: [underflow_overflow, tpu]}}"), {"LR378"}),
        (tuned("{extra: {log_level: warning}}"), set()),
        (tuned("{extra: {generation_kwargs: '{min_p'}}", GRPO % "beta: 0.0"), {"LR378"}),
        (tuned("{extra: {generation_kwargs: {min_p: 0.1}}}", GRPO % "beta: 0.0"), set()),
        (tuned("{extra: {cache_implementation: fast}}", GRPO % "beta: 0.0"), {"LR378"}),
        (tuned("{extra: {entropy_coef_min: 2.0}}", GRPO % "beta: 0.0"), {"LR393"}),
        (
            tuned("{extra: {use_transformers_continuous_batching: true}}", GRPO % "use_vllm: true", more=GPU % 1),
            {"LR393"},
        ),
        (tuned("{extra: {eval_delay: -1}}", validation=True), {"LR379"}),
        (tuned("{extra: {top_entropy_quantile: 0.2}}", GRPO % "beta: 0.0"), set()),
        (tuned("{extra: {top_entropy_quantile: 2.0}}", GRPO % "beta: 0.0"), {"LR379"}),
        (tuned("{extra: {dataloader_persistent_workers: true}}"), {"LR393"}),
        (tuned("{dataloader_num_workers: 1, extra: {dataloader_persistent_workers: true}}"), set()),
        (tuned("{extra: {fp16_full_eval: true, bf16_full_eval: true}}", validation=True), {"LR393"}),
        (tuned("{extra: {eval_on_start: true}}"), {"LR393"}),
        (tuned("{extra: {eval_on_start: true}}", validation=True), set()),
        (tuned("{extra: {router_aux_loss_coef: 0.01}}"), {"LR393"}),
        (tuned("{extra: {log_completions_hub_repo: a/b}}", GRPO % "beta: 0.0"), {"LR393"}),
        (tuned("{extra: {vllm_importance_sampling_clip_min: 4.0}}", GRPO % "beta: 0.0"), {"LR393"}),
        (tuned("{extra: {vllm_importance_sampling_clip_min: 0.5}}", GRPO % "beta: 0.0"), set()),
        (
            tuned("{extra: {vllm_importance_sampling_cap: 2, vllm_importance_sampling_clip_min: 2.5}}", GRPO % ""),
            {"LR393"},
        ),
        (tuned(CUT % "vllm_importance_sampling_clip_max: null", GRPO % ""), {"LR393"}),
        (tuned(CUT % "vllm_importance_sampling_clip_max: 2.0", GRPO % ""), set()),
        (tuned(CUT % "vllm_importance_sampling_clip_max: null, vllm_importance_sampling_cap: 2.0", GRPO % ""), set()),
        (
            tuned(CUT % "vllm_importance_sampling_clip_max: null, vllm_importance_sampling_correction: false",
                  GRPO % ""),
            set(),
        ),
        (tuned(method=GRPO % "temperature: 0.05"), {"LR394"}),
        (tuned(method=GRPO % "loss_type: luspo"), {"LR395"}),
        (tuned(method=GRPO % "loss_type: luspo, importance_sampling_level: sequence"), set()),
        (tuned(method=GRPO % "loss_type: vespo, use_vllm: true", more=GPU % 1), {"LR395"}),
        (
            tuned("{extra: {vllm_importance_sampling_mode: token_mask}}", GRPO % "loss_type: vespo, use_vllm: true",
                  more=GPU % 1),
            set(),
        ),
        (tuned(method=GRPO % "beta: 0.8"), {"LR396"}),
        (tuned(method="{kind: kto, beta: 5.0}"), {"LR396"}),
        (tuned(method="{kind: cpo, loss_type: simpo}"), {"LR396"}),
        (tuned(method="{kind: orpo, beta: 0.1}"), set()),
        (tuned(method=GRPO % "use_vllm: true, vllm_tensor_parallel_size: 3", more=SPREAD % (4, "ddp")), {"LR397"}),
        (tuned(method=GRPO % "use_vllm: true, vllm_tensor_parallel_size: 2", more=SPREAD % (4, "ddp")), set()),
        (tuned("{extra: {vllm_tensor_parallel_size: 3}}", DISTILLED, more=SPREAD % (4, "ddp")), {"LR397"}),
        (tuned("{extra: {vllm_tensor_parallel_size: 2}}", DISTILLED, more=SPREAD % (4, "ddp")), set()),
        (tuned("{extra: {vllm_tensor_parallel_size: 3, vllm_mode: server}}", DISTILLED, more=GPU % 1), set()),
        (tuned(method="{kind: distillation, teacher_model: Qwen/Qwen2.5-7B}"), {"LR326"}),
        (tuned(method="{kind: dpo, ref_model: Qwen/Qwen2.5-7B}"), {"LR326"}),
        (tuned(method="{kind: distillation, teacher_model: Qwen/Qwen3-8B}"), set()),
        (tuned("{extra: {vllm_mode: sever}}", DISTILLED, more=GPU % 1), {"LR378"}),
        (
            tuned("{eval_steps: 5, early_stopping: {metric: eval_rewards/margins, greater_is_better: true}}",
                  "{kind: dpo}", validation=True),
            set(),
        ),
        (
            tuned("{eval_steps: 5, checkpoints: {best: {metric: eval_loss, greater_is_better: true}}}",
                  validation=True),
            {"LR399"},
        ),
        (tuned(more=SPREAD % (2, "fsdp, wrap: [Qwen3MLP, Qwen3DecoderLayer]")), set()),
        (tuned(more=SPREAD % (2, "fsdp, wrap: [Qwen3MoeDecoderLayer]")), {"LR450"}),
        (tuned("{extra: {ddp_backend: nccl}}"), {"LR451"}),
        (tuned("{extra: {ddp_backend: gloo}}", more=SPREAD % (2, "ddp")), {"LR451"}),
        (tuned("{extra: {ddp_backend: nccl}}", more=SPREAD % (2, "ddp")), set()),
        (
            tuned("{optimizer: {kind: adamw, paged: true}}", more=SPREAD % (2, "deepspeed, offload_optimizer: cpu")),
            {"LR453"},
        ),
        (tuned("{extra: {ds3_gather_for_generation: false}}", GRPO % "beta: 0.0"), {"LR837"}),
        (tuned(method=GRPO % "vllm_server_base_url: 'http://a:1', use_vllm: true", more=GPU % 1), {"LR832"}),
        (tuned("{extra: {hub_strategy: end}}"), {"LR830"}),
    ],
)  # fmt: skip
def test_what_a_trainer_is_told(text: str, expected: set[str], folder: Path) -> None:
    assert codes(folder, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (served("quantization: gptq"), {"LR608"}),
        (served("quantization: awq", base="owner/chat-awq"), set()),
        (served("quantization: fp_quant"), {"LR608"}),
        (served("enforce_eager: true", base="google/gemma-3-1b-it", options="dtype: float16, "), {"LR319", "LR609"}),
        (served("max_num_batched_tokens: 1024, enable_chunked_prefill: false"), {"LR610"}),
        (served("max_num_batched_tokens: 1024"), set()),
        (served("long_prefill_token_threshold: 9000"), {"LR610"}),
        (served("speculative_config: {num_speculative_tokens: 3}"), {"LR611"}),
        (served("speculative_config: {method: draft_model, num_speculative_tokens: 3}"), {"LR611"}),
        (served("speculative_config: {method: suffix}"), set()),
        (served("speculative_config: {model: Qwen/Qwen3-0.6B, num_speculative_tokens: 0}"), {"LR611"}),
        (served("speculative_config: {model: Qwen/Qwen3-0.6B, num_speculative_tokens: 3, "
                "draft_tensor_parallel_size: 2}"), {"LR611"}),
        (served("speculative_config: {method: ngram, num_speculative_tokens: 3, prompt_lookup_min: 5, "
                "prompt_lookup_max: 2}"), {"LR611"}),
        (served("enable_log_outputs: true"), {"LR612"}),
        (served("ssl_keyfile: /key"), {"LR612"}),
        (served("tool_call_parser: mine"), {"LR613"}),
        (served("tool_call_parser: mine, tool_parser_plugin: /mine.py"), {"LR705"}),
        (served("enable_eplb: true", base="owner/experts"), {"LR616"}),
        (served("quantization: nvfp4_per_token"), {"LR615"}),
        (served("convert: embed"), {"LR629"}),
        (served("data_parallel_size: 2", devices=2), {"LR607"}),
        (served("max_cpu_loras: 1, max_loras: 4"), {"LR606"}),
        (served("", options='image: "registry.example.org/vllm:v1", '), set()),
        (served("", options='image: "vllm/vllm-openai:v0.33.0-cu129", '), set()),
    ],
)  # fmt: skip
def test_what_a_server_is_told(text: str, expected: set[str], folder: Path) -> None:
    assert codes(folder, text) == expected


def test_groups_of_validations_may_be_others_than_those_of_training(folder: Path) -> None:
    method = GRPO % "num_generations: 8"
    batches = "per_device_eval_batch_size: 4, eval_steps: 5"
    assert codes(folder, tuned(f"{{{batches}}}", method, validation=True)) == {"LR333"}
    assert codes(folder, tuned(f"{{{batches}, extra: {{num_generations_eval: 2}}}}", method, validation=True)) == set()


def test_the_tables_name_fields_and_options_that_there_are() -> None:
    assert {*extra_options.WORDS, *extra_options.BOUNDS, *extra_options.UNREAD} <= FIELDS
    assert {*online_options.OF_SERVER, *online_options.OF_COLOCATE, *processes.OF_DDP} <= FIELDS
    options = facts.vllm_options()
    assert {*engine.FANNED_OUT, *answering.CODE, *answering.OPEN} <= set(options)
    assert {*engine.OF_CHECKPOINTS, *engine.ON_THE_FLY, *engine.RETIRED} <= set(options["quantization"].choices)
    assert set(engine.OF_OTHER_FILES) <= set(options["load_format"].choices)


TRAINERS = {
    "dpo": dpo_trainer,
    "kto": kto_trainer,
    "reward": reward_trainer,
    **{kind: importlib.import_module(f"trl.experimental.{kind}.{kind}_trainer") for kind in ("orpo", "cpo")},
}


@pytest.mark.parametrize("kind", TRAINERS)
def test_what_validations_measure_is_what_the_trainer_writes_down(kind: str) -> None:
    source = inspect.getsource(TRAINERS[kind])
    written = set(re.findall(r'metrics(?:\[mode\])?\[f?"(?:\{prefix\})?([a-z_/]+)"\]', source)) - {"num_tokens"}
    assert set(judging.MEASURED[kind]) == {name for name in written if not name.startswith("eval_")} | {"loss"}


def test_every_method_with_a_likelihood_or_preferences_has_its_metrics() -> None:
    online = {"grpo", "rloo", "ppo"}
    kinds = {method.model_fields["kind"].annotation.__args__[0] for method in METHODS}  # type: ignore[union-attr]
    assert set(judging.MEASURED) == kinds - online


@pytest.mark.parametrize(
    ("optimizer", "wrong"),
    [("kind: adamw", True), ("kind: muon", True), ("kind: schedule_free", True), ("kind: adamw, bits: 8", False),
     ("kind: lion", False), ("kind: sgd", False)],
)  # fmt: skip
def test_weights_in_float16_are_not_for_optimizers_that_divide_in_their_type(
    folder: Path, optimizer: str, wrong: bool
) -> None:
    text = tuned(f"{{optimizer: {{{optimizer}}}}}").replace("Qwen3-0.6B", "Qwen3-0.6B, dtype: float16")
    assert ("LR316" in codes(folder, text)) == wrong
