"""Arithmetic, prices and serving against numbers that others published or that follow by hand."""

from dataclasses import replace

import pytest
from test_estimate_memory import LORA, PLAIN, RECOMPUTED

from llmrecipe.estimate import compute, counting, serving, storage
from llmrecipe.estimate.memory import GIB
from llmrecipe.estimate.shape import of_facts
from llmrecipe.facts import accelerators, models
from llmrecipe.methods.dpo import DPO
from llmrecipe.methods.grpo import GRPO
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.hardware import Hardware
from llmrecipe.vocabulary import ExactMatch

LLAMA = of_facts(models()["meta-llama/Llama-3.1-8B"])
LARGE = replace(PLAIN, shape=LLAMA, length=2048)
SMALL = {"version": 1, "name": "small", "model": {"base": "meta-llama/Llama-3.1-8B"}}


@pytest.mark.parametrize(
    ("changed", "passes"),
    [({}, 6), ({"checkpointing": RECOMPUTED}, 8), ({"adapter": LORA}, 4), ({"method": DPO(kind="dpo")}, 8)],
    ids=["full", "recomputed", "adapter", "reference"],
)
def test_operations_are_so_many_times_the_numbers_that_compute(changed, passes) -> None:
    setting = replace(LARGE, **changed)
    computing = counting.total(LLAMA) - counting.embedding(LLAMA)
    attention = 2 * LLAMA.layers * LLAMA.queries * setting.length
    assert compute.flops_per_token(setting) == pytest.approx(passes * computing + passes / 2 * attention)


def test_only_the_experts_of_a_token_compute() -> None:
    mixture = of_facts(models()["Qwen/Qwen3-30B-A3B"])
    assert counting.active(mixture) == pytest.approx(3.35e9, rel=0.01)


def test_the_price_is_hours_times_devices_times_the_price_of_one() -> None:
    hardware = Hardware(accelerator="h100-80gb", num_accelerators=8, price_per_hour=2.5, carbon_intensity=400)
    spread = replace(LARGE, processes=8)
    todo = compute.work(spread, (100, 100), known=True)
    found = compute.cost(spread, todo, hardware, accelerators()["h100-80gb"])
    assert found.hours is not None
    assert found.price == pytest.approx(tuple(8 * 2.5 * hours for hours in found.hours))
    assert found.kilograms is not None
    assert found.kilograms[1] == pytest.approx(found.hours[1] * 8 * 0.7 * 1.5 * 0.4)


def test_epochs_of_counted_rows_are_as_many_steps_as_the_trainer_makes() -> None:
    recipe = Recipe.model_validate(SMALL | {"training": {"num_train_epochs": 3}})
    rows = compute.Amount((800, 800), (80_000, 80_000), counted=True)
    padded = replace(LARGE, rows=4, accumulation=2, processes=2)
    found = compute.todo(recipe, padded, rows)
    assert found is not None
    assert found.steps == (150, 150)
    assert found.tokens == (240_000, 480_000)
    packed = compute.todo(recipe, replace(padded, packed=True), compute.Amount((1, 9), (819_200, 1_638_400)))
    assert packed is not None
    assert packed.steps == (75, 150)
    assert not packed.known


def test_epochs_of_which_nothing_is_known_have_no_steps() -> None:
    recipe = Recipe.model_validate(SMALL)
    assert compute.todo(recipe, LARGE, None) is None
    grpo = replace(LARGE, method=GRPO(kind="grpo", reward_functions=[ExactMatch(kind="exact_match")]))
    assert compute.todo(recipe, grpo, compute.Amount((10, 10), (10, 10))) is None


def test_without_figures_of_the_accelerator_there_are_no_hours() -> None:
    todo = compute.work(LARGE, (100, 100), known=True)
    found = compute.cost(LARGE, todo, Hardware(), accelerators()["cpu"])
    assert (found.hours, found.price) == (None, None)
    assert found.flops[1] > 0


def served(**changed) -> serving.Serving:
    recipe = Recipe.model_validate(
        {
            "version": 1,
            "name": "chat",
            "model": {"base": "meta-llama/Llama-3.1-8B"},
            "serving": {"kind": "vllm", "max_model_len": 8192, **changed.pop("serving", {})},
            "hardware": {"accelerator": "rtx3090-24gb", **changed},
        }
    )
    found = serving.serving(recipe, {}, 23.58 * GIB, accelerators()["rtx3090-24gb"])
    assert found is not None
    return found


def test_serving_is_what_the_log_of_vllm_says() -> None:
    """https://github.com/vllm-project/vllm/issues/10517: 131,072 bytes a token, 14.99 GiB of weights, 31,232 tokens."""
    found = served(serving={"extra": {"max_num_batched_tokens": 20000}})
    assert found.token == 131_072
    assert found.weights / GIB == pytest.approx(14.99, rel=0.005)
    low, high = found.tokens
    assert low < 31_232 < high


def test_devices_share_weights_and_heads_but_never_less_than_one_head() -> None:
    assert serving.cache_bytes_per_token(LLAMA, 4, 2) == 131_072 / 4
    assert serving.cache_bytes_per_token(LLAMA, 16, 2) == 131_072 / 8


def test_more_tokens_than_break_even_are_cheaper_than_the_hosted_model() -> None:
    found = served(price_per_hour=0.4, api_price_per_million_tokens=0.5)
    assert found.break_even == pytest.approx(0.4 * 730 / 0.5 * 1e6)


def test_a_checkpoint_holds_trained_weights_and_the_state_of_the_optimizer() -> None:
    recipe = Recipe.model_validate(
        {
            "version": 1,
            "name": "style",
            "model": {"base": "meta-llama/Llama-3.1-8B"},
            "data": {"train": [{"kind": "files", "paths": ["chats.jsonl"], "format": "messages"}]},
            "method": {"kind": "sft"},
            "training": {"checkpoints": {"save_total_limit": 3, "best": {}}},
        }
    )
    kept = storage.storage(recipe, LARGE)
    assert kept.checkpoint == 12 * models()["meta-llama/Llama-3.1-8B"].parameters
    assert kept.checkpoints == 5
    assert kept.disk == 5 * kept.checkpoint + kept.exported
