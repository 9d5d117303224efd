"""What the keys of each tool become, and what each does without being told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmrecipe.importing import Entry, Imported, Options, convert

Convert = Callable[..., Imported]

AXOLOTL = "base_model: Qwen/Qwen3-0.6B\ndatasets: [{path: house/chats, type: chat_template}]\nlearning_rate: 1e-4\n"
FACTORY = "model_name_or_path: Qwen/Qwen3-0.6B\nstage: sft\ndataset: chats\n"
TRL = "model_name_or_path: Qwen/Qwen3-0.6B\ndataset_name: house/chats\n"


@pytest.fixture
def run(tmp_path: Path) -> Convert:
    """Imports a text; the folder has a dataset_info.json."""
    (tmp_path / "data").mkdir()
    info = {"chats": {"hf_hub_url": "house/chats", "formatting": "sharegpt"}}
    (tmp_path / "data/dataset_info.json").write_text(json.dumps(info), "utf-8")

    def convert_text(text: str, tool: str | None = None, **options: Any) -> Imported:
        file = tmp_path / "file.yaml"
        file.write_text(text, "utf-8")
        return convert(str(file), tool, Options(**options))

    return convert_text


def _at(found: Imported, path: str) -> Any:
    value: Any = yaml.safe_load(found.text)
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value.get(part) if value is not None else None
    return float(value) if isinstance(value, str) and value[:1].isdigit() else value


def _entry(found: Imported, key: str) -> Entry:
    return next(one for one in found.entries if one.path[0] == key)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        (AXOLOTL, "training.max_length", 512),
        (AXOLOTL, "training.per_device_train_batch_size", 1),
        (AXOLOTL, "training.per_device_eval_batch_size", 1),
        (AXOLOTL, "training.num_train_epochs", 1.0),
        (AXOLOTL, "training.optimizer.kind", "adamw"),
        (AXOLOTL, "training.schedule", {"kind": "cosine", "warmup_ratio": 0.03}),
        (AXOLOTL, "training.precision", "auto"),
        (AXOLOTL, "training.checkpoints.save_total_limit", 4),
        (AXOLOTL, "data.packing", "none"),
        (AXOLOTL, "model.dtype", "bfloat16"),
        (AXOLOTL.replace("1e-4", "1e-6"), "model.dtype", None),
        (AXOLOTL + "bf16: false\n", "model.dtype", None),
        (AXOLOTL, "method", {"kind": "sft", "assistant_only_loss": True}),
        (AXOLOTL + "adapter: lora\n", "model.adapter.r", 8),
        (AXOLOTL + "adapter: lora\n", "model.adapter.lora_alpha", 8),
        (AXOLOTL + "adapter: lora\n", "model.adapter.lora_dropout", 0.0),
        (AXOLOTL + "adapter: lora\n", "model.adapter.target_modules", ["q_proj", "v_proj"]),
        (FACTORY, "training.max_length", 2048),
        (FACTORY + "bf16: true\n", "model.dtype", "bfloat16"),
        (FACTORY + "bf16: true\nfinetuning_type: full\n", "model.dtype", None),
        (FACTORY, "training.learning_rate", 5e-5),
        (FACTORY, "training.num_train_epochs", 3.0),
        (FACTORY, "training.per_device_train_batch_size", 8),
        (FACTORY, "training.logging_steps", 500),
        (FACTORY, "training.gradient_checkpointing", True),
        (FACTORY, "training.schedule.kind", "linear"),
        (FACTORY, "training.precision", "float32"),
        (FACTORY, "model.adapter.r", 8),
        (FACTORY, "model.adapter.lora_alpha", 16),
        (FACTORY + "lora_rank: 32\n", "model.adapter.lora_alpha", 64),
        (FACTORY, "model.adapter.target_modules", "all-linear"),
        (FACTORY, "method.assistant_only_loss", True),
        (FACTORY + "pref_beta: 0.3\n", "method.beta", None),
        (FACTORY.replace("sft", "dpo"), "method.beta", 0.1),
        (TRL, "training.learning_rate", 2e-5),
        (TRL, "training.max_length", 1024),
        (TRL, "training.gradient_checkpointing", True),
        (TRL, "training.schedule.kind", "linear"),
        (TRL, "training.logging_steps", 10),
        (TRL, "training.precision", "bfloat16"),
        (TRL, "model.dtype", "float32"),
        (TRL, "data.packing", "none"),
        (TRL + "use_peft: true\n", "model.adapter.r", 16),
        (TRL + "use_peft: true\n", "model.adapter.lora_dropout", 0.05),
        (TRL + "packing: true\n", "data.packing", "bfd"),
        (TRL + "beta: 0.1\n", "training.learning_rate", 1e-6),
        (TRL + "beta: 0.1\n", "method.kind", "dpo"),
        (TRL + "desirable_weight: 1.5\n", "method", {"kind": "kto", "desirable_weight": 1.5}),
        (TRL + "num_generations: 4\n", "method.max_completion_length", 512),
        (TRL + "center_rewards_coefficient: 0.01\n", "training.learning_rate", 1e-4),
        (TRL + "load_in_4bit: true\nuse_peft: true\n", "model.quantization.double_quantization", False),
        (AXOLOTL.replace("Qwen/Qwen3-0.6B", "google/gemma-2-2b-it"), "model.attention", "eager"),
        (FACTORY.replace("Qwen/Qwen3-0.6B", "openai/gpt-oss-20b") + "flash_attn: auto\n", "model.attention", "eager"),
        (TRL.replace("Qwen/Qwen3-0.6B", "openai/gpt-oss-20b"), "model.attention", "eager"),
        (TRL, "model.attention", None),
    ],
)
def test_what_a_tool_does_without_being_told_is_written_out(run: Convert, text: str, path: str, value: Any) -> None:
    assert _at(run(text), path) == value


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("optimizer: paged_adamw_8bit", "training.optimizer", {"kind": "adamw", "bits": 8, "paged": True}),
        ("optimizer: lion_8bit\nadam_beta2: 0.98", "training.optimizer", {"kind": "lion", "bits": 8, "beta2": 0.98}),
        ("lr_scheduler: cosine\ncosine_min_lr_ratio: 0.1\nwarmup_steps: 5", "training.schedule",
         {"kind": "cosine", "min_lr_ratio": 0.1, "warmup_steps": 5}),
        ("lr_scheduler: constant_with_warmup\nwarmup_ratio: 0.1", "training.schedule",
         {"kind": "constant", "warmup_ratio": 0.1}),
        ("eta_min: 1e-5\nlr_scheduler: cosine\nwarmup_steps: 0.1", "training.schedule",
         {"kind": "cosine", "warmup_ratio": 0.1, "min_lr_ratio": 0.1}),
        ("gradient_accumulation_steps: 4\nmicro_batch_size: 3", "training.global_batch_size", 12),
        ("batch_size: 16\nmicro_batch_size: 4", "training.global_batch_size", 16),
        ("max_steps: 50\nnum_epochs: 3", "training.max_steps", 50),
        ("max_steps: 50\nnum_epochs: 3", "training.num_train_epochs", None),
        ("bf16: true", "training.precision", "bfloat16"),
        ("fp16: true\nbf16: false", "training.precision", "float16"),
        ("bf16: false", "training.precision", "float32"),
        ("adapter: qlora\nload_in_4bit: true", "model.quantization", {"kind": "nf4"}),
        ("adapter: lora\nload_in_8bit: true\npeft_use_dora: true", "model.adapter.kind", "dora"),
        ("flash_attention: true", "model.attention", "flash_attention_2"),
        ("sdp_attention: true", "model.attention", "sdpa"),
        ("val_set_size: 0.1\neval_steps: 20", "training.eval_steps", 20),
        ("val_set_size: 0.1\neval_steps: 0.1\nmax_steps: 200", "training.eval_steps", 20),
        ("wandb_project: house\nwandb_entity: us", "tracking.trackers",
         [{"kind": "wandb", "mode": "online", "project": "house", "entity": "us"}]),
        ("gradient_checkpointing: offload", "training.gradient_checkpointing", {"offload": True}),
        ("dp_shard_size: 4\ndp_replicate_size: 2\nfsdp_config: {offload_params: true}", "distributed",
         {"kind": "fsdp", "sharding": "hybrid", "cpu_offload": True}),
        ("dp_shard_size: 4\ndp_replicate_size: 2\nfsdp_config: {offload_params: true}", "hardware.num_accelerators", 8),
        ("deepspeed: {zero_optimization: {stage: 3, offload_param: {device: cpu}}}", "distributed",
         {"kind": "deepspeed", "zero_stage": 3, "offload_parameters": "cpu"}),
        ("deepspeed: deepspeed_configs/zero2.json", "distributed", {"kind": "deepspeed", "zero_stage": 2}),
        ("sample_packing: true", "data.packing", "bfd"),
        ("output_dir: ./outputs/House Style!/", "name", "house-style"),
    ],
)  # fmt: skip
def test_keys_of_axolotl_become(run: Convert, text: str, path: str, value: Any) -> None:
    assert _at(run(f"{AXOLOTL}{text}\n", "axolotl"), path) == value


@pytest.mark.parametrize(
    ("rl", "dataset", "method"),
    [
        ("rl: dpo\nrl_beta: 0.2", "chat_template.default", {"kind": "dpo", "beta": 0.2}),
        ("rl: ipo", "chatml.intel", {"kind": "dpo", "beta": 0.1, "loss_type": "ipo"}),
        ("rl: kto\nkto_desirable_weight: 2", "llama3.ultra", {"kind": "kto", "beta": 0.1, "desirable_weight": 2.0}),
        ("rl: orpo\norpo_alpha: 0.4", "chat_template.argilla", {"kind": "orpo", "beta": 0.4}),
        ("rl: simpo\nsimpo_gamma: 1.0", "chatml.ultra",
         {"kind": "cpo", "loss_type": "simpo", "beta": 0.1, "simpo_gamma": 1.0}),
        ("reward_model: true", "bradley_terry.chat_template", {"kind": "reward"}),
    ],
)  # fmt: skip
def test_methods_of_axolotl_become(run: Convert, rl: str, dataset: str, method: dict[str, Any]) -> None:
    found = run(f"{AXOLOTL.replace('chat_template', dataset)}{rl}\n", "axolotl")
    assert _at(found, "method") == method
    assert not [one for one in found.entries if one.fate == "blocking"]


@pytest.mark.parametrize(
    ("dataset", "source"),
    [
        ("{path: a/b, type: alpaca}", {"kind": "hub", "dataset": "a/b", "format": "instruction"}),
        ("{path: a/b, type: completion, field: body}",
         {"kind": "hub", "dataset": "a/b", "format": "text", "columns": {"text": "body"}}),
        ("{path: a/b, name: en, type: chat_template, split: 'train[:50]', field_messages: turns}",
         {"kind": "hub", "dataset": "a/b", "config": "en", "max_samples": 50, "format": "messages",
          "columns": {"messages": "turns"}}),
        ("{path: a/b, type: chat_template, message_property_mappings: {role: from, content: value}}",
         {"kind": "hub", "dataset": "a/b", "format": "conversations", "columns": {"conversations": "messages"}}),
        ("{path: json, data_files: rows.jsonl, type: chat_template}",
         {"kind": "files", "paths": ["rows.jsonl"], "format": "messages"}),
        ("{path: a/b, data_files: [x.jsonl], type: alpaca}",
         {"kind": "files", "paths": ["hf://datasets/a/b/x.jsonl"], "format": "instruction"}),
        ("{path: s3://house/rows.parquet, type: chat_template}",
         {"kind": "files", "paths": ["s3://house/rows.parquet"], "format": "messages"}),
    ],
)  # fmt: skip
def test_datasets_of_axolotl_become(run: Convert, dataset: str, source: dict[str, Any]) -> None:
    text = f"base_model: Qwen/Qwen3-0.6B\nlearning_rate: 1e-4\ndatasets: [{dataset}]\n"
    assert _at(run(text), "data.train.0") == source


@pytest.mark.parametrize(
    ("tool", "text", "key", "code"),
    [
        ("axolotl", "learning_rat: 1", "learning_rat", "LR911"),
        ("axolotl", "rl: ebft", "rl", "LR912"),
        ("axolotl", "micro_batch_size: two", "micro_batch_size", "LR913"),
        ("axolotl", "optimizer: ao_adamw_fp8", "optimizer", "LR912"),
        ("axolotl", "lr_scheduler: rex", "lr_scheduler", "LR912"),
        ("axolotl", "attn_implementation: xformers", "attn_implementation", "LR912"),
        ("axolotl", "adapter: lora\nlora_target_modules: '.*_proj'", "lora_target_modules", "LR912"),
        ("axolotl", "special_tokens: {eos_token: '<my_end>'}", "special_tokens", "LR912"),
        ("axolotl", "chat_template: phi_35", "chat_template", "LR912"),
        ("axolotl", "val_set_size: 500", "val_set_size", "LR912"),
        ("axolotl", "deepspeed: mine.json", "deepspeed", "LR916"),
        ("axolotl", "hub_model_id: house/model", "hub_model_id", "LR912"),
        ("axolotl", "lora_model_dir: ./before", "lora_model_dir", "LR912"),
        ("llamafactory", "finetuning_type: oft", "finetuning_type", "LR912"),
        ("llamafactory", "use_galore: true", "use_galore", "LR912"),
        ("llamafactory", "quantization_bit: 3", "quantization_bit", "LR912"),
        ("llamafactory", "eval_dataset: unknown_name", "eval_dataset", "LR916"),
        ("llamafactory", "cutof_len: 10", "cutof_len", "LR911"),
        ("trl", "reward_funcs: [think_format_reward]", "reward_funcs", "LR912"),
        ("trl", "max_lenght: 10", "max_lenght", "LR911"),
        ("trl", "push_to_hub: true", "push_to_hub", "LR912"),
        ("trl", "logging_nan: 3", "logging_nan", "LR911"),
    ],
)
def test_what_cannot_be_said_blocks_at_its_line(run: Convert, tool: str, text: str, key: str, code: str) -> None:
    start = {"axolotl": AXOLOTL, "llamafactory": FACTORY, "trl": TRL}[tool]
    found = run(f"{start}{text}\n", tool)
    assert _entry(found, key).fate == "blocking"
    line = _entry(found, key).span.line
    assert code in {one.code for one in found.diagnostics if one.span.line == line and one.severity == "error"}


@pytest.mark.parametrize(
    ("tool", "misspelt", "meant"),
    [
        ("axolotl", "learning_rat", "learning_rate"),
        ("axolotl", "lora_target_linears", "lora_target_linear"),
        ("llamafactory", "cutof_len", "cutoff_len"),
        ("trl", "max_lenght", "max_length"),
        ("trl", "dataloader_drop_lst", "dataloader_drop_last"),
    ],
)
def test_a_misspelt_key_is_told_what_was_meant(run: Convert, tool: str, misspelt: str, meant: str) -> None:
    start = {"axolotl": AXOLOTL, "llamafactory": FACTORY, "trl": TRL}[tool]
    helps = [one.help for one in run(f"{start}{misspelt}: 1\n", tool).diagnostics if one.code == "LR911"]
    assert helps == [f"did you mean `{meant}`?"]


def test_a_key_of_a_dataset_that_is_misspelt_is_told_what_was_meant(run: Convert) -> None:
    found = run(AXOLOTL.replace("type:", "splitt: train, type:"))
    assert [one.help for one in found.diagnostics if one.code == "LR911"] == ["did you mean `split`?"]


def test_text_that_the_tool_turns_into_a_number_is_a_number_and_told(run: Convert) -> None:
    entry = _entry(run(AXOLOTL), "learning_rate")
    assert entry.value == "1e-4"
    assert entry.became == 1e-4
    assert "text to YAML 1.1" in entry.because


def test_a_word_that_is_false_to_the_tool_is_read_so_and_told(run: Convert) -> None:
    found = run(f"{TRL}eval_strategy: no\n")
    assert _entry(found, "eval_strategy").fate == "dropped"
    assert [one.code for one in found.diagnostics if one.code == "LR918"] == ["LR918"]


def test_axolotl_takes_the_last_of_two_equal_keys_and_llamafactory_refuses_them(run: Convert) -> None:
    found = run(f"{AXOLOTL}seed: 1\nseed: 2\n")
    assert _at(found, "training.seed") == 2
    assert [one.fate for one in found.entries if one.path == ("seed",)] == ["dropped", "mapped"]
    assert "blocking" in [one.fate for one in run(f"{FACTORY}seed: 1\nseed: 2\n").entries if one.path == ("seed",)]


def test_an_empty_key_is_as_if_it_were_not_written(run: Convert) -> None:
    found = run(f"{AXOLOTL}lr_scheduler:\n")
    assert _entry(found, "lr_scheduler").fate == "dropped"
    assert "training.schedule" in [one.path for one in found.implied]


def test_a_deepspeed_file_that_is_here_is_read(run: Convert, tmp_path: Path) -> None:
    zero = {"zero_optimization": {"stage": 1}, "train_batch_size": "auto"}
    (tmp_path / "mine.json").write_text(json.dumps(zero), "utf-8")
    assert _at(run(f"{AXOLOTL}deepspeed: mine.json\n"), "distributed") == {"kind": "deepspeed", "zero_stage": 1}


def test_datasets_of_llamafactory_are_found_in_dataset_info(run: Convert) -> None:
    assert _at(run(FACTORY), "data.train.0") == {"kind": "hub", "dataset": "house/chats", "format": "conversations"}


def test_rows_of_trl_are_seen_by_the_first_of_them(run: Convert, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "1 + 1 =", "completion": "2"}\n', "utf-8")
    text = "model_name_or_path: Qwen/Qwen3-0.6B\ndatasets: [{path: json, data_files: rows.jsonl}]\n"
    found = run(text, "trl", output=tmp_path / "recipe.yaml")
    assert _at(found, "data.train.0") == {"kind": "files", "paths": ["rows.jsonl"], "format": "prompt_completion"}


def test_the_method_of_a_trl_file_can_be_said(run: Convert) -> None:
    assert _at(run(TRL, method="reward"), "method.kind") == "reward"


def test_paths_start_from_the_folder_of_the_recipe(run: Convert, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"messages": []}\n', "utf-8")
    text = AXOLOTL.replace("house/chats", "rows.jsonl")
    found = run(text, output=tmp_path / "recipes/chat.yaml")
    assert _at(found, "data.train.0.paths") == ["../rows.jsonl"]


def test_python_code_of_a_file_is_named_and_never_run(run: Convert, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n", "utf-8")
    found = run(f"{TRL}reward_funcs: [rewards.polite]\nnum_generations: 4\n")
    assert _at(found, "method.reward_functions.0.function") == "polite"
    assert not (tmp_path / "was_run").exists()


def test_fields_of_the_trainer_without_a_key_of_their_own_go_to_extra(run: Convert) -> None:
    found = run(f"{TRL}num_generations: 4\nmin_p: 0.1\ntop_entropy_quantile: 1.0\n")
    assert _at(found, "training.extra") == {"min_p": 0.1}
    assert _entry(found, "top_entropy_quantile").fate == "dropped"
