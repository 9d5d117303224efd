"""PPO on a small model: what a step is, what is learned, and that it goes on after a kill as if nothing had been."""

import copy
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ppo_world
import pytest
import small
import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, TrainerCallback
from trl.distributed import DistributedBackend
from trl.generation.vllm_generation import VLLMGeneration

from llmrecipe.stages.place import StageError
from llmrecipe.trainers.ppo import PPOTrainer
from llmrecipe.trainers.ppo_rollout import minibatch_rows, prompts_of, share_of

LORA = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.2, target_modules="all-linear")
ADAPTED: dict[str, Any] = {"peft_config": LORA}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Stop(TrainerCallback):  # type: ignore[misc]
    """Ends training after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """When it is reached."""
        control.should_training_stop = state.global_step >= self.step


# -- learning --


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("shared", {}),
        pytest.param("separate", {}, marks=pytest.mark.slow),
        pytest.param("shared", ADAPTED, marks=pytest.mark.slow),
        pytest.param("separate", ADAPTED, marks=pytest.mark.slow),
    ],
    ids=["full, shared value", "full, separate value", "lora, shared value", "lora, separate value"],
)
def test_the_mean_reward_of_held_out_prompts_rises(value: str, options: dict[str, Any], tmp_path: Path) -> None:
    rate = 1e-2 if options else 3e-3
    found = ppo_world.trainer(
        tmp_path, {"max_steps": 60, "learning_rate": rate, "value_backbone": value, "logging_steps": 10,
                   "per_device_train_batch_size": 16, "gradient_accumulation_steps": 1},
        eval_dataset=ppo_world.rows(30), **options,
    )  # fmt: skip
    before = found.evaluate()["eval_reward"]
    found.train()
    entries = [entry for entry in found.state.log_history if "loss" in entry]
    assert entries[-1]["objective/scores"] > entries[0]["objective/scores"] + 0.1
    assert found.evaluate()["eval_reward"] > before + 0.05


def test_the_value_function_learns_what_answers_are_worth(tmp_path: Path) -> None:
    found = ppo_world.trainer(
        tmp_path, {"max_steps": 60, "vf_coef": 1.0, "num_ppo_epochs": 4, "logging_steps": 12},
        reward_funcs=[lambda prompts, **_: [len(prompt) / 40 for prompt in prompts]],
    )  # fmt: skip
    found.train()
    logged = [entry["val/explained_var"] for entry in found.state.log_history if "loss" in entry]
    assert logged[0] < 0.1
    assert logged[-1] > 0.4


def test_a_log_line_has_the_measures_by_the_names_of_the_field(tmp_path: Path) -> None:
    found = ppo_world.trainer(tmp_path, {"max_steps": 1})
    found.train()
    assert found.state.log_history[0].keys() >= {
        "objective/kl", "objective/entropy", "objective/non_score_reward", "objective/rlhf_reward", "objective/scores",
        "objective/kl_coef", "policy/approxkl_avg", "policy/clipfrac_avg", "loss/policy_avg", "loss/value_avg",
        "val/clipfrac_avg", "policy/entropy_avg", "val/ratio", "val/ratio_var", "val/explained_var",
        "val/num_eos_tokens", "lr", "episode",
    }  # fmt: skip


def test_the_first_step_of_a_rollout_has_ratios_of_one_and_no_kl(tmp_path: Path) -> None:
    for options in ({}, ADAPTED):
        found = ppo_world.trainer(tmp_path, {"max_steps": 1}, **options)
        found.train()
        entry = found.state.log_history[0]
        assert entry["val/ratio"] == pytest.approx(1, abs=1e-5)
        assert entry["objective/kl"] == pytest.approx(0, abs=1e-4)


# -- a step --


def gradients(of: PPOTrainer, micro_batches: int, processes: int = 1) -> dict[str, torch.Tensor]:
    """Of one minibatch, split as given; the mean over the processes, as every way of spreading a model has it."""
    rollout = of.rollout
    assert rollout is not None
    of.model.zero_grad()
    rows = minibatch_rows(rollout, 0, 16, 0)
    tokens = int(rollout.completion_lengths[rows].sum())
    for process in range(processes):
        for part in share_of(rows, micro_batches, processes, process):
            loss = of.compute_loss(of.model, rollout.micro_batch(part), num_items_in_batch=tokens)
            (loss / of.args.world_size).backward()
    return {name: p.grad.clone() for name, p in of.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("split", [(2, 1), (8, 1), (2, 2), (1, 4)])
def test_the_gradient_of_a_minibatch_does_not_depend_on_how_it_is_split(split: tuple[int, int], tmp_path: Path) -> None:
    found = ppo_world.trainer(tmp_path, {"entropy_coef": 0.1})
    found.rollout = found.collect(0)
    torch.manual_seed(0)
    with torch.no_grad():  # Away from the policy that sampled, so that something is clipped.
        for parameter in found.model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    whole, parts = gradients(found, 1), gradients(found, *split)
    assert max(tensor.abs().max() for tensor in whole.values()) > 1e-3
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-6, rtol=1e-4)


def test_each_pass_takes_every_answer_once_and_in_another_order(tmp_path: Path) -> None:
    found = ppo_world.trainer(tmp_path)
    rollout = found.collect(0)
    passes = [torch.cat([minibatch_rows(rollout, 2 * e + m, 8, 0) for m in range(2)]).tolist() for e in range(3)]
    assert all(sorted(rows) == list(range(16)) for rows in passes)
    assert len({tuple(rows) for rows in passes}) == 3


def test_prompts_come_in_passes_over_all_rows() -> None:
    drawn = [row for rollout in range(5) for row in prompts_of(rollout, 8, 20, 1, True)]
    assert sorted(drawn[:20]) == sorted(drawn[20:]) == list(range(20))
    assert drawn[:20] != drawn[20:]
    assert prompts_of(1, 8, 20, 1, False) == list(range(8, 16))


def test_padding_changes_neither_log_probabilities_nor_values(tmp_path: Path) -> None:
    found = ppo_world.trainer(tmp_path)
    torch.nn.init.normal_(found.model.value.head.weight)
    rollout = found.collect(0)
    found.model.eval()
    for row in range(6):
        alone = rollout.micro_batch(torch.tensor([row]))
        width = alone["completion_length"]
        with torch.no_grad():
            output = found.model(**found.model_inputs(alone))
        torch.testing.assert_close(output["logprobs"][0], rollout.logprobs[row, :width], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output["values"][0], rollout.values[row, :width], atol=1e-5, rtol=1e-5)


def test_log_probabilities_are_those_of_sampling_at_its_temperature(tmp_path: Path) -> None:
    found = ppo_world.trainer(tmp_path, {"temperature": 0.7})
    rollout = found.collect(0)
    ids, lengths = rollout.input_ids, rollout.completion_lengths
    for row in range(4):
        begin = ids.shape[1] - rollout.logprobs.shape[1]
        real = ids[row, begin - int(rollout.prompt_lengths[row]) : begin + int(lengths[row])]
        with torch.no_grad():
            logits = found.model.policy(real.unsqueeze(0)).logits[0] / 0.7
        expected = logits.log_softmax(-1)[:-1].gather(1, real[1:, None])[-int(lengths[row]) :, 0]
        torch.testing.assert_close(rollout.logprobs[row, : lengths[row]], expected, atol=1e-5, rtol=1e-5)


def test_the_reference_of_an_adapter_is_the_model_without_it(tmp_path: Path) -> None:
    found = ppo_world.trainer(tmp_path, **ADAPTED)
    assert found.ref_model is None
    base = ppo_world.policy()
    for name, parameter in found.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    rollout = found.collect(0)
    batch = rollout.micro_batch(torch.arange(4))
    found.model.eval()
    with torch.no_grad():
        ours = found.reference(batch)
        policy = found.model(**found.model_inputs(batch))["logprobs"]
        plain = ppo_world.trainer(tmp_path, model=base)
        expected = plain.reference(batch)
    torch.testing.assert_close(ours, expected)
    assert (policy - ours).abs().max() > 0.1


def test_an_adaptive_coefficient_moves_with_the_kl(tmp_path: Path) -> None:
    found = ppo_world.trainer(tmp_path, {"target_kl": 1e-3, "horizon": 100, "max_steps": 20})
    found.train()
    coefficients = [entry["objective/kl_coef"] for entry in found.state.log_history if "loss" in entry]
    assert coefficients[0] == 0.02
    assert coefficients[-1] > 0.02


def test_a_value_function_can_begin_with_a_reward_model(tmp_path: Path) -> None:
    policy = ppo_world.policy()
    policy.save_pretrained(tmp_path / "policy")
    judge = AutoModelForSequenceClassification.from_pretrained(tmp_path / "policy", num_labels=1)
    expected = copy.deepcopy(judge)
    found = ppo_world.trainer(tmp_path, {"value_backbone": "separate"}, value_model=judge)
    batch = found.collect(0).micro_batch(torch.tensor([0]))
    with torch.no_grad():
        states = expected.base_model(batch["input_ids"])[0]
        values = expected.score(states)[0, -batch["completion_length"] - 1 : -1, 0]
        ours = found.model(**found.model_inputs(batch))["values"][0]
    torch.testing.assert_close(ours, values)


# -- rewards --


def test_reward_functions_see_texts_and_columns_and_are_added_with_weights(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def first(prompts: Any, completions: Any, completion_ids: Any, reference: Any) -> Sequence[float | None]:
        seen.update(prompts=prompts, completions=completions, ids=completion_ids, reference=reference)
        return [1.0] * len(prompts)

    def sometimes(prompts: Any, **_: Any) -> Sequence[float | None]:
        return [2.0 if i % 2 else None for i in range(len(prompts))]

    found = ppo_world.trainer(tmp_path, reward_funcs=[first, sometimes], reward_weights=[1.0, 0.5])
    completions, rewards = found.collect.answers([found.train_dataset[i] for i in range(4)], None)
    assert found.scorer.total(rewards).tolist() == [1, 2, 1, 2]
    assert seen["reference"] == ["0", "1", "2", "3"]
    assert seen["prompts"][1] == "Say something 1"
    assert seen["completions"] == small.tokenizer().batch_decode(completions, skip_special_tokens=True)
    assert seen["ids"] == completions


def test_a_conversation_is_answered_by_a_message(tmp_path: Path) -> None:
    found = ppo_world.trainer(
        tmp_path, reward_funcs=[lambda completions, **_: [len(c[0]["content"]) for c in completions]]
    )
    row = {"prompt": [{"role": "user", "content": "Hello"}], "prompt_ids": [7, 8, 9]}
    assert found.scorer([row], [[70, 71]]) == [[2.0]]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda prompts, **_: [0.0], "returned 1 rewards for 16 answers"),
        (lambda prompts, **_: [float("nan")] * len(prompts), "returned nan"),
        (lambda prompts, **_: [None] * len(prompts), "no reward function applies"),
    ],
)
def test_a_reward_function_that_is_wrong_is_named(function: Callable[..., Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=message):
        ppo_world.trainer(tmp_path, reward_funcs=[function]).train()


def test_weights_without_functions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 reward functions have 2 weights"):
        ppo_world.trainer(tmp_path, reward_weights=[1.0, 2.0])


def test_scores_are_clipped_and_an_answer_without_end_is_worth_less(tmp_path: Path) -> None:
    found = ppo_world.trainer(tmp_path, {"reward_clip": 2.0, "missing_eos_penalty": 1.5})
    scores = found.collect.scores(torch.tensor([[5.0], [5.0], [-1.0]]), torch.tensor([True, False, False]))
    assert scores.tolist() == [2.0, 0.5, -2.5]


def test_the_parts_of_trl_that_we_use_are_there() -> None:
    """Names and arguments by which vLLM is reached; an upgrade that breaks them breaks `use_vllm`."""
    arguments = inspect.signature(VLLMGeneration.__init__).parameters
    assert arguments.keys() >= {
        "model", "accelerator", "processing_class", "mode", "server_base_url", "server_timeout", "tensor_parallel_size",
        "gpu_memory_utilization", "max_model_length", "max_num_seqs", "enable_sleep_mode", "temperature", "top_p",
        "top_k", "max_completion_length", "generation_kwargs",
    }  # fmt: skip
    assert inspect.signature(VLLMGeneration.generate).parameters.keys() >= {"prompts", "images", "num_generations"}
    assert callable(VLLMGeneration.sync_weights)
    assert "self.temperature" in inspect.getsource(VLLMGeneration.generate)
    assert {"is_zero3", "is_fsdp"} <= set(dir(DistributedBackend))


def test_vllm_that_is_not_installed_is_said(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="vLLM is not installed"):
        ppo_world.trainer(tmp_path, {"use_vllm": True})


# -- saving --


@pytest.mark.parametrize("options", [{}, ADAPTED], ids=["full", "lora"])
def test_the_saved_policy_loads_without_us(options: dict[str, Any], tmp_path: Path) -> None:
    found = ppo_world.trainer(tmp_path / "work", {"max_steps": 2}, **options)
    found.train()
    found.save_model(str(tmp_path / "model"))
    if options:
        base = ppo_world.policy()
        loaded = PeftModel.from_pretrained(base, tmp_path / "model")
    else:
        loaded, information = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
        assert not any(information.values())
    assert not (tmp_path / "model" / "value.safetensors").exists()
    ids = torch.arange(10, 20).unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(ids).logits, found.model.policy.eval()(ids).logits)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full": ({}, {}),
    "lora with dropout": ({"disable_dropout": False}, ADAPTED),
    "separate value": ({"value_backbone": "separate"}, {}),
    "separate value and lora": ({"value_backbone": "separate"}, ADAPTED),
    "adaptive coefficient": ({"target_kl": 0.1, "horizon": 50}, {}),
    "bfloat16": ({"bf16": True}, {}),
}


@pytest.mark.parametrize("at", [3, 4], ids=["within a rollout", "between rollouts"])
@pytest.mark.parametrize("case", ["full", *(pytest.param(name, marks=pytest.mark.slow) for name in list(CASES)[1:])])
def test_a_run_goes_on_to_the_very_same_weights_and_log(case: str, at: int, tmp_path: Path) -> None:
    arguments, options = CASES[case]
    kept = {"save_strategy": "steps", "save_steps": at, "logging_steps": 2, **arguments}
    straight = ppo_world.trainer(tmp_path / "straight", kept, **options)
    straight.train()
    stopped = ppo_world.trainer(tmp_path / "again", kept, callbacks=[Stop(at)], **options)
    stopped.train()
    resumed = ppo_world.trainer(tmp_path / "again", kept, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "again" / f"checkpoint-{at}"))
    expected = ppo_world.weights(straight)
    assert all(torch.equal(expected[name], tensor) for name, tensor in ppo_world.weights(resumed).items())
    # The trainer forgets what it summed up of the loss since the last line; staged runs have a line before each save.
    histories = [[{**entry, "loss": 0} for entry in ppo_world.history(run)[:-1]] for run in (straight, resumed)]
    assert histories[0] == histories[1]


def test_the_best_checkpoint_brings_back_policy_and_value(tmp_path: Path) -> None:
    found = ppo_world.trainer(
        tmp_path,
        {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "max_steps": 4,
         "load_best_model_at_end": True, "metric_for_best_model": "eval_completion_length", "greater_is_better": True},
        eval_dataset=ppo_world.rows(3),
    )  # fmt: skip
    found.train()
    assert found.state.best_model_checkpoint.endswith("checkpoint-2")
    again = ppo_world.trainer(tmp_path / "other")
    again._load_from_checkpoint(found.state.best_model_checkpoint)
    expected = ppo_world.weights(again)
    assert all(torch.equal(expected[name], tensor) for name, tensor in ppo_world.weights(found).items())


# -- ways of computing --


@pytest.mark.parametrize("options", [{}, ADAPTED], ids=["full", "lora"])
def test_activation_checkpointing_changes_no_number(options: dict[str, Any], tmp_path: Path) -> None:
    plain = ppo_world.trainer(tmp_path, {"value_backbone": "separate", "activation_checkpointing": False}, **options)
    plain.train()
    checkpointed = ppo_world.trainer(
        tmp_path, {"value_backbone": "separate", "activation_checkpointing": True}, **options
    )
    checkpointed.train()
    assert checkpointed.model.is_gradient_checkpointing
    expected = ppo_world.weights(plain)
    for name, tensor in ppo_world.weights(checkpointed).items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-4)


def test_bfloat16_goes_about_the_same_way(tmp_path: Path) -> None:
    runs = [ppo_world.trainer(tmp_path, {"max_steps": 4, "bf16": half}) for half in (False, True)]
    for run in runs:
        run.train()
    exact, half = (run.state.log_history[0] for run in runs)
    assert half["policy/entropy_avg"] == pytest.approx(exact["policy/entropy_avg"], rel=0.01)
    assert half["val/ratio"] == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_two_processes_come_to_what_one_comes_to(tmp_path: Path) -> None:
    found = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
            str(Path(__file__).parent / "ppo_world.py"), str(folder),
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found[processes] = torch.load(folder / "found.pt", weights_only=True)
    for name, tensor in found[1]["weights"].items():
        torch.testing.assert_close(found[2]["weights"][name], tensor, atol=1e-5, rtol=1e-4)
    for one, two in zip(found[1]["history"][:-1], found[2]["history"][:-1], strict=True):
        assert json.dumps(sorted(one)) == json.dumps(sorted(two))
        assert all(two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-4) for name in one)
