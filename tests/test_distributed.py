"""Two processes with gloo under each strategy: the losses of one, models for plain libraries, and resuming."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsdp_on_processor
import pytest
import small
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from llmrecipe import launch
from llmrecipe.optimization import Best
from llmrecipe.plan import Resources, Train
from llmrecipe.stages import checkpoints, train
from llmrecipe.stages.place import Place
from llmrecipe.strategies import DDP, FSDP, DeepSpeed, Distributed
from llmrecipe.vocabulary import LoRA

pytestmark = pytest.mark.slow

STRATEGIES: dict[str, Distributed] = {
    "ddp": DDP(kind="ddp"),
    "fsdp": FSDP(kind="fsdp"),
    "fsdp, weights and gradients whole between the passes, one file": FSDP(
        kind="fsdp", sharding="grad", sync_each_batch=False, state_dict_type="full"
    ),
    "fsdp, read by one": FSDP(kind="fsdp", cpu_ram_efficient_loading=True),
    "zero 1": DeepSpeed(kind="deepspeed", zero_stage=1),
    "zero 2": DeepSpeed(kind="deepspeed", zero_stage=2),
    "zero 3": DeepSpeed(kind="deepspeed", zero_stage=3),
}
LORA = LoRA(kind="lora", r=4, lora_alpha=8)
PRETRAIN, SFT = ("pretrain", "packed"), ("sft", "padded")
CASES: dict[str, tuple[tuple[str, str], dict[str, Any], int | None]] = {
    "full": (PRETRAIN, {}, None),
    "resumed": (PRETRAIN, {}, 7),
    "again": (PRETRAIN, {}, None),
    "best": (PRETRAIN, {"best": Best(), "arguments": {"eval_strategy": "steps", "eval_steps": 3}}, None),
    "adapter": (SFT, {"adapter": LORA, "packed": False}, None),
    "recomputed": (SFT, {"adapter": LORA, "packed": False, "arguments": {"activation_checkpointing": True}}, None),
    "accumulated": (SFT, {"packed": False, "arguments": {"gradient_accumulation_steps": 2}}, None),
}
"""Name -> method and rows, changes of the spec, and the step after which it is stopped."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Path]]:
    """Datasets, a tokenizer, and a base with weights large enough that ZeRO-3 spreads them (100,000 numbers)."""
    root = tmp_path_factory.mktemp("inputs")
    small.saved_model(root / "base", hidden_size=320, intermediate_size=640, num_hidden_layers=1)
    small.tokenizer().save_pretrained(root / "tokenizer")
    rows = {"packed": small.packed_rows, "padded": small.padded_rows}
    for kind, make in rows.items():
        small.dataset(root / kind, list(make(20)), list(make(4, seed=9)))
    return lambda kind: {"dataset": root / kind, "tokenizer": root / "tokenizer", "model": root / "base"}


def spec_of(case: str, strategy: Distributed | None) -> Train:
    """The spec of a case over two processes, or of the same case over one."""
    (method, _), changes, _ = CASES[case]
    world_size = 1 if strategy is None else 2
    arguments = {"learning_rate": 1e-3, "logging_steps": 1, "per_device_train_batch_size": 4 // world_size}
    arguments |= changes.get("arguments", {})
    if "gradient_accumulation_steps" in arguments:
        arguments["per_device_train_batch_size"] //= 2
    fields = {"model": small.INPUT, "world_size": world_size} | changes | {"arguments": arguments}
    return small.train_spec(method, **fields, **({} if strategy is None else {"distributed": strategy}))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, inputs: Callable[[str], dict[str, Path]]) -> dict[str, Any]:
    """Case -> its place after training with one process."""
    places = {}
    for case, ((_, kind), _, stop) in CASES.items():
        if stop is None and case != "again":
            places[case] = small.place(tmp_path_factory.mktemp(case), **inputs(kind))
            train.run(spec_of(case, None), places[case])
    return places | {"resumed": places["full"], "again": places["full"]}


@pytest.fixture(scope="module", params=STRATEGIES)
def together(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, inputs: Callable[[str], dict[str, Path]]
) -> dict[str, Any]:
    """Case -> its place after training with two processes under one strategy; all cases in one launch."""
    strategy, root = STRATEGIES[request.param], tmp_path_factory.mktemp("together")
    places = {case: small.place(root / case, **inputs(kind)) for case, ((_, kind), _, _) in CASES.items()}
    jobs = [job(case, place, strategy) for case, place in places.items()]
    (root / "cases.json").write_text(json.dumps(jobs), encoding="utf-8")
    launched(root, strategy, str(Path(__file__).with_name("rank_of_trainings.py")), str(root / "cases.json"))
    return places


def job(case: str, place: Place, strategy: Distributed) -> dict[str, Any]:
    """What `rank_of_trainings.py` reads."""
    return {
        "spec": spec_of(case, strategy).model_dump(mode="json"),
        "folder": str(place.root),
        "inputs": {name: str(path) for name, path in place.inputs.items()},
        "stop_after": CASES[case][2],
        "again": case == "again",
    }


def launched(root: Path, strategy: Distributed, *words: str, ranks: int = 2) -> None:
    """Start ranks of a script with the configuration that `llmrecipe run` writes."""
    sharded = isinstance(strategy, FSDP)
    config = launch.accelerate_config(Resources(processes=ranks, accelerators=ranks if sharded else 0), strategy)
    (root / "accelerate.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    told = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    if sharded:
        told["PYTHONPATH"] = str(fsdp_on_processor.folder(root / "shim"))
    if isinstance(strategy, DeepSpeed) and shutil.which("g++") is None:
        pytest.skip("DeepSpeed builds an operator with g++, and there is none")
    ended = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(root / "accelerate.yaml"), *words],
        env=told, timeout=900, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-6000:]


def losses(place: Any) -> list[float]:
    """Loss of each step."""
    return [line["loss"] for line in small.log(place) if "loss" in line]


def weights(place: Any) -> dict[str, torch.Tensor]:
    """Everything that was saved."""
    return {k: v for file in sorted((place.output / "model").glob("*.safetensors")) for k, v in load_file(file).items()}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=torch.arange(24)[None]).logits
    return found


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_learns(case: str, together: dict[str, Any], alone: dict[str, Any]) -> None:
    assert losses(together[case]) == pytest.approx(losses(alone[case]), abs=2e-4)
    one, two = weights(alone[case]), weights(together[case])
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert two[name].shape == tensor.shape
        assert (two[name] - tensor).abs().max() < 2e-3, name


def test_the_whole_model_is_written_and_plain_transformers_loads_it(
    together: dict[str, Any], alone: dict[str, Any]
) -> None:
    found, missing = AutoModelForCausalLM.from_pretrained(together["full"].output / "model", output_loading_info=True)
    assert not missing["missing_keys"]
    assert not missing["unexpected_keys"]
    expected = AutoModelForCausalLM.from_pretrained(alone["full"].output / "model")
    assert (logits(found) - logits(expected)).abs().max() < 1e-2
    metrics = json.loads((together["full"].root / "metrics.json").read_bytes())
    assert metrics["parameters"] == metrics["trainable_parameters"] == expected.num_parameters()


def test_peft_loads_the_adapter(together: dict[str, Any], alone: dict[str, Any]) -> None:
    place = together["adapter"]
    models = [
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(place.inputs["model"]), where.output / "model")
        for where in (place, alone["adapter"])
    ]
    assert (logits(models[0]) - logits(models[1])).abs().max() < 1e-2
    metrics = json.loads((place.root / "metrics.json").read_bytes())
    trained = sum(p.numel() for name, p in models[0].named_parameters() if "lora_" in name)
    assert metrics["trainable_parameters"] == trained
    assert metrics["parameters"] == sum(p.numel() for p in models[0].parameters())


@pytest.mark.parametrize("case", ["resumed", "again"])
def test_a_stopped_run_goes_on_to_the_same_end(case: str, together: dict[str, Any]) -> None:
    straight, resumed = together["full"], together[case]
    assert losses(resumed) == pytest.approx(losses(straight), abs=1e-5)
    for name, tensor in weights(straight).items():
        assert (weights(resumed)[name] - tensor).abs().max() < 1e-5, name


@pytest.mark.parametrize("case", CASES)
def test_one_process_writes_the_log(case: str, together: dict[str, Any]) -> None:
    assert [path.name for path in together[case].root.glob("writer-*.txt")] == ["writer-0.txt"]


def test_every_file_of_a_checkpoint_is_sealed(together: dict[str, Any]) -> None:
    folder = together["full"].work / "checkpoints"
    newest = checkpoints.newest_complete(folder)
    assert newest is not None
    assert newest.name == "checkpoint-12"
    manifest = json.loads((newest / checkpoints.MANIFEST).read_bytes())
    there = {p.relative_to(newest).as_posix() for p in newest.rglob("*") if p.is_file()} - {checkpoints.MANIFEST}
    assert manifest["files"].keys() == there
    shares = [newest / name for name in there if name.endswith((".distcp", "optim_states.pt", "optimizer.pt", ".bin"))]
    assert shares
    share = max(shares, key=lambda path: path.stat().st_size)
    os.truncate(share, share.stat().st_size - 1)
    assert checkpoints.newest_complete(folder).name == "checkpoint-10"


def test_layers_that_fsdp_recomputes_learn_the_same(
    tmp_path: Path, inputs: Callable[[str], dict[str, Path]], alone: dict[str, Any]
) -> None:
    strategy = FSDP(kind="fsdp", activation_checkpointing=True)
    place = small.place(tmp_path / "recomputed", **inputs("packed"))
    (tmp_path / "cases.json").write_text(json.dumps([job("full", place, strategy)]), encoding="utf-8")
    launched(tmp_path, strategy, str(Path(__file__).with_name("rank_of_trainings.py")), str(tmp_path / "cases.json"))
    assert losses(place) == pytest.approx(losses(alone["full"]), abs=2e-4)
    assert weights(place).keys() == weights(alone["full"]).keys()


def test_hybrid_shares_over_two_nodes_that_meet_learn_the_same(
    tmp_path: Path, inputs: Callable[[str], dict[str, Path]], alone: dict[str, Any]
) -> None:
    strategy = FSDP(kind="fsdp", sharding="hybrid")
    place = small.place(tmp_path / "hybrid", **inputs("packed"))
    described = job("full", place, strategy)
    described["spec"] |= {"world_size": 4}
    described["spec"]["arguments"] |= {"per_device_train_batch_size": 1}
    (tmp_path / "cases.json").write_text(json.dumps([described]), encoding="utf-8")
    config = launch.accelerate_config(Resources(nodes=2, processes=2, accelerators=2), strategy)
    (tmp_path / "accelerate.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    told = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    told["PYTHONPATH"] = str(fsdp_on_processor.folder(tmp_path / "shim"))
    script = str(Path(__file__).with_name("rank_of_trainings.py"))
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(tmp_path / "accelerate.yaml"),
             "--machine_rank", rank, "--main_process_ip", "127.0.0.1", "--main_process_port", port,
             script, str(tmp_path / "cases.json")],
            env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    outputs = [node.communicate(timeout=600)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert losses(place) == pytest.approx(losses(alone["full"]), abs=2e-4)
