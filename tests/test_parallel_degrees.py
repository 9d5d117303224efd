"""Layers and sequences that are split over processes: the losses of one process, whole models, and resuming."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from peft import PeftModel
from test_distributed import LORA, launched, logits, losses, weights
from transformers import AutoModelForCausalLM

from llmrecipe.plan import Train
from llmrecipe.stages import checkpoints, train
from llmrecipe.strategies import FSDP, Distributed, together

pytestmark = pytest.mark.slow

PACKED, PADDED, SFT = ("pretrain", "packed"), ("pretrain", "padded"), ("sft", "padded")
CASES: dict[str, tuple[tuple[str, str], dict[str, Any], int | None]] = {
    "packed": (PACKED, {}, None),
    "padded": (PADDED, {"packed": False}, None),
    "stopped": (PADDED, {"packed": False}, 7),
    "adapter": (SFT, {"adapter": LORA, "packed": False, "arguments": {"activation_checkpointing": True}}, None),
    "accumulated": (SFT, {"packed": False, "arguments": {"gradient_accumulation_steps": 2}}, None),
    "rounded": (SFT, {"packed": False, "arguments": {"bf16": True}}, None),
}
"""Name -> method and rows, changes of the spec, and the step after which it is stopped."""
STRATEGIES: dict[str, tuple[Distributed, int, list[str]]] = {
    "layers": (FSDP(kind="fsdp", tensor_parallel_size=2), 4, [*CASES]),
    "sequences": (FSDP(kind="fsdp", context_parallel_size=2), 2, [name for name in CASES if name != "packed"]),
}
"""Name -> the strategy, its processes, and the cases that it is tried with."""
EXACT = {"loss": 1e-5, "grad_norm": 1e-4, "entropy": 1e-4, "mean_token_accuracy": 1e-4, "weights": 1e-4}
ROUNDED = {"loss": 2e-2, "grad_norm": 2e-2, "entropy": 1e-2, "mean_token_accuracy": 0.1, "weights": 1e-2}
"""How far a training may be off that rounds to eight bits: the likeliest of equally likely tokens may be another."""
TRIED = [(name, case) for name, (_, _, cases) in STRATEGIES.items() for case in cases]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Path]]:
    """Datasets, a tokenizer, and a base whose feed-forward blocks do not divide by two."""
    root = tmp_path_factory.mktemp("inputs")
    small.saved_model(root / "base", intermediate_size=67)
    small.tokenizer().save_pretrained(root / "tokenizer")
    for kind, make in {"packed": small.packed_rows, "padded": small.padded_rows}.items():
        small.dataset(root / kind, list(make(20)), list(make(4, seed=9)))
    return lambda kind: {"dataset": root / kind, "tokenizer": root / "tokenizer", "model": root / "base"}


def spec_of(case: str, strategy: Distributed | None, processes: int) -> Train:
    """The spec of a case: four rows in each step, over however many processes see different ones."""
    (method, _), changes, _ = CASES[case]
    ranks = 1 if strategy is None else processes // together(strategy)
    wanted = changes.get("arguments", {})
    rows = 4 // (ranks * wanted.get("gradient_accumulation_steps", 1))
    arguments = {"learning_rate": 1e-3, "logging_steps": 1, "per_device_train_batch_size": rows} | wanted
    fields = {"model": small.INPUT, "world_size": processes} | changes | {"arguments": arguments}
    return small.train_spec(method, **fields, **({} if strategy is None else {"distributed": strategy}))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, inputs: Callable[[str], dict[str, Path]]) -> dict[str, Any]:
    """Case -> its place after training with one process."""
    places = {}
    for case, ((_, kind), _, stop) in CASES.items():
        if stop is None:
            places[case] = small.place(tmp_path_factory.mktemp(case), **inputs(kind))
            train.run(spec_of(case, None, 1), places[case])
    return places | {"stopped": places["padded"]}


@pytest.fixture(scope="module")
def split(
    tmp_path_factory: pytest.TempPathFactory, inputs: Callable[[str], dict[str, Path]]
) -> dict[tuple[str, str], Any]:
    """Strategy and case -> its place after training; all cases of a strategy in one launch."""
    places = {}
    for name, (strategy, processes, cases) in STRATEGIES.items():
        root, jobs = tmp_path_factory.mktemp(name), []
        for case in cases:
            place = places[name, case] = small.place(root / case, **inputs(CASES[case][0][1]))
            spec = spec_of(case, strategy, processes).model_dump(mode="json")
            folders = {role: str(path) for role, path in place.inputs.items()}
            job = {"spec": spec, "folder": str(place.root), "inputs": folders}
            jobs.append(job | {"stop_after": CASES[case][2], "again": False})
        (root / "cases.json").write_text(json.dumps(jobs), encoding="utf-8")
        script = Path(__file__).with_name("rank_over_shares.py")
        launched(root, strategy, str(script), str(root / "cases.json"), ranks=processes)
    return places


@pytest.mark.parametrize(("name", "case"), TRIED)
def test_what_is_split_learns_what_one_process_learns(
    name: str, case: str, split: dict[tuple[str, str], Any], alone: dict[str, Any]
) -> None:
    here, there, far = split[name, case], alone[case], ROUNDED if case == "rounded" else EXACT
    assert losses(here) == pytest.approx(losses(there), abs=far["loss"])
    for measure in ("num_tokens", "grad_norm", "entropy", "mean_token_accuracy"):
        found, expected = ([line[measure] for line in small.log(place) if measure in line] for place in (here, there))
        assert found == pytest.approx(expected, rel=far.get(measure, 0), abs=0.05 if case == "rounded" else 1e-6)
    one, several = weights(there), weights(here)
    assert one.keys() == several.keys()
    for weight, tensor in one.items():
        assert several[weight].shape == tensor.shape
        assert (several[weight] - tensor).abs().max() < far["weights"], weight


@pytest.mark.parametrize("name", ["layers", "sequences"])
def test_the_whole_model_is_written_and_plain_transformers_loads_it(
    name: str, split: dict[tuple[str, str], Any], alone: dict[str, Any]
) -> None:
    found, missing = AutoModelForCausalLM.from_pretrained(
        split[name, "padded"].output / "model", output_loading_info=True
    )
    assert not missing["missing_keys"]
    assert not missing["unexpected_keys"]
    expected = AutoModelForCausalLM.from_pretrained(alone["padded"].output / "model")
    assert (logits(found) - logits(expected)).abs().max() < 1e-3
    metrics = json.loads((split[name, "padded"].root / "metrics.json").read_bytes())
    assert metrics["parameters"] == expected.num_parameters()


def test_peft_loads_an_adapter_that_was_split(split: dict[tuple[str, str], Any], alone: dict[str, Any]) -> None:
    models = [
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(place.inputs["model"]), place.output / "model")
        for place in (split["layers", "adapter"], alone["adapter"])
    ]
    assert (logits(models[0]) - logits(models[1])).abs().max() < 1e-3


@pytest.mark.parametrize("name", ["layers", "sequences"])
def test_a_stopped_run_goes_on_to_the_same_end(name: str, split: dict[tuple[str, str], Any]) -> None:
    straight, resumed = split[name, "padded"], split[name, "stopped"]
    assert losses(resumed) == losses(straight)
    for weight, tensor in weights(straight).items():
        assert torch.equal(weights(resumed)[weight], tensor), weight
    newest = checkpoints.newest_complete(resumed.work / "checkpoints")
    assert newest is not None
    assert newest.name == "checkpoint-12"
