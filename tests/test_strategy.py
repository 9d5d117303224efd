"""What a training stage does about its strategy: tells Accelerate, heeds the launcher, and looks at what was made."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small
import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import TrainerControl

from llmrecipe import accelerating
from llmrecipe.plan import Train
from llmrecipe.stages import strategy
from llmrecipe.stages.place import Place, StageError
from llmrecipe.strategies import DDP, FSDP, DeepSpeed, Distributed, Single
from llmrecipe.trainers import sharded

ZERO2, ZERO3 = (DeepSpeed(kind="deepspeed", zero_stage=stage) for stage in (2, 3))
FULL = FSDP(kind="fsdp")


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Variables are those of a process that no launcher started, and come back after the test; nothing is built."""
    monkeypatch.setattr(strategy, "_build_operators", lambda strategy: None)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(accelerating.PREFIXES)}
    monkeypatch.setattr(
        os, "environ", kept | {"LOCAL_WORLD_SIZE": "2", "TORCH_EXTENSIONS_DIR": str(tmp_path / "operators")}
    )


def place(world_size: int = 2) -> Place:
    return Place(inputs={}, output=Path(), work=Path(), root=Path(), world_size=world_size)


def spec(distributed: Distributed, **arguments: Any) -> Train:
    return small.train_spec(world_size=2, distributed=distributed, arguments=arguments)


@pytest.mark.parametrize("distributed", [FULL, ZERO2, ZERO3, DDP(kind="ddp")], ids=str)
def test_without_a_word_of_the_launcher_accelerate_learns_the_strategy_of_the_plan(distributed: Distributed) -> None:
    strategy.declare(spec(distributed), place())
    assert accelerating.declared(os.environ) == (None if isinstance(distributed, DDP) else distributed)


def test_hybrid_shares_lie_within_a_node() -> None:
    strategy.declare(spec(FSDP(kind="fsdp", sharding="hybrid")), place(world_size=8))
    sizes = {name: os.environ[f"PARALLELISM_CONFIG_{name}_SIZE"] for name in ("DP_REPLICATE", "DP_SHARD")}
    assert sizes == {"DP_REPLICATE": "4", "DP_SHARD": "2"}


def test_the_layers_of_one_training_are_not_told_to_the_next() -> None:
    model = small.model()
    for _ in range(2):
        strategy.declare(spec(FULL), place())
        with strategy.layers_named(FULL, model):
            assert os.environ[strategy.LAYERS] == "Qwen3DecoderLayer"


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (FULL, ZERO2, "`kind: fsdp`, and the launcher says `kind: deepspeed`"),
        (ZERO2, ZERO3, "`zero_stage: 2`, and the launcher says `zero_stage: 3`"),
        (FULL, FSDP(kind="fsdp", cpu_offload=True), "`cpu_offload: False`, and the launcher says `cpu_offload: True`"),
        (
            FSDP(kind="fsdp", context_parallel_size=2),
            FULL,
            "`context_parallel_size: 2`, and the launcher says `context_parallel_size: 1`",
        ),
        (Single(kind="single"), FULL, "`kind: single`, and the launcher says `kind: fsdp`"),
    ],
)
def test_a_launcher_that_says_another_strategy_is_refused(ours: Distributed, theirs: Distributed, message: str) -> None:
    os.environ.update(accelerating.variables(theirs, 1, 2))
    with pytest.raises(StageError, match=message) as caught:
        strategy.declare(spec(ours), place())
    assert caught.value.help


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "`gradient_accumulation_steps: 1`, and the launcher says"),
        ({"ACCELERATE_GRADIENT_CLIPPING": "0.5"}, "`max_grad_norm: 1.0`, and the launcher says"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, "trains in float32, and the launcher says `mixed_precision: bf16`"),
    ],
)
def test_a_launcher_that_says_other_numbers_is_refused(told: dict[str, str], message: str) -> None:
    os.environ.update(accelerating.variables(ZERO2, 1, 2) | told)
    with pytest.raises(StageError, match=message):
        strategy.declare(spec(ZERO2), place())


def test_a_launcher_may_say_the_numbers_of_the_plan() -> None:
    told = {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1", "ACCELERATE_GRADIENT_CLIPPING": "1.0"}
    os.environ.update(accelerating.variables(ZERO2, 1, 2) | told | {"ACCELERATE_MIXED_PRECISION": "bf16"})
    strategy.declare(spec(ZERO2, bf16=True), place())
    assert os.environ["ACCELERATE_GRADIENT_CLIPPING"] == "auto"


def test_a_package_that_is_missing_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategy, "find_spec", lambda name: None)
    with pytest.raises(StageError, match="`deepspeed` is not installed"):
        strategy.declare(spec(ZERO2), place())


def test_what_a_killed_build_left_is_removed_when_nobody_of_ours_builds(tmp_path: Path) -> None:
    lock = tmp_path / "py311_cpu" / "deepspeed_killed" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()

    def build() -> None:
        with strategy.building(tmp_path):
            pass

    with strategy.building(tmp_path):
        assert not lock.exists()
        lock.touch()
        other = threading.Thread(target=build, daemon=True)
        other.start()
        other.join(0.1)
        assert other.is_alive()
        assert lock.exists()
    other.join(10)
    assert not other.is_alive()
    assert not lock.exists()


def test_fsdp_without_accelerators_is_refused_before_anything_is_read() -> None:
    PartialState._reset_state()
    with pytest.raises(StageError, match="`fsdp` takes accelerators"):
        strategy.check_processes(small.train_spec(distributed=FULL))


def made(distributed: Distributed, kind: DistributedType, wrapped: torch.nn.Module, **state: Any) -> None:
    """Begin a training with what Accelerate is said to have made."""
    accelerator = SimpleNamespace(num_processes=2, distributed_type=kind, state=SimpleNamespace(**state))
    callback = strategy.InForce(spec(distributed))
    callback.trainer = SimpleNamespace(accelerator=accelerator, model=wrapped, model_wrapped=wrapped)
    callback.on_train_begin(None, None, TrainerControl())


def test_gradients_are_summed_and_the_loss_is_left_in_float32() -> None:
    rounded = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.bfloat16, output_dtype=torch.bfloat16)
    plugin = SimpleNamespace(mixed_precision_policy=rounded)
    strategy.sum_exactly(SimpleNamespace(accelerator=SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin))))
    assert plugin.mixed_precision_policy == MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32)


@pytest.mark.parametrize("state", [SimpleNamespace(), SimpleNamespace(fsdp_plugin=None)], ids=["no fsdp", "none"])
def test_without_fsdp_there_is_nothing_to_leave(state: Any) -> None:
    strategy.sum_exactly(SimpleNamespace(accelerator=SimpleNamespace(state=state)))
    assert vars(state) in ({}, {"fsdp_plugin": None})


class DeepSpeedEngine(torch.nn.Module):
    pass


ZERO = {"offload_optimizer": {"device": "none"}, "offload_param": {"device": "none"}}


def test_what_was_made_as_declared_may_train() -> None:
    plugin = SimpleNamespace(deepspeed_config={"zero_optimization": ZERO | {"stage": 2}})
    made(ZERO2, DistributedType.DEEPSPEED, DeepSpeedEngine(), deepspeed_plugin=plugin)


@pytest.mark.parametrize(
    ("distributed", "kind", "message"),
    [
        (FULL, DistributedType.MULTI_CPU, "says `fsdp`, and Accelerate has made something else: its type is MULTI_CPU"),
        (ZERO2, DistributedType.MULTI_GPU, "its type is MULTI_GPU"),
        (DDP(kind="ddp"), DistributedType.FSDP, "its type is FSDP"),
        (DDP(kind="ddp"), DistributedType.MULTI_GPU, "the model is a Linear"),
        (Single(kind="single"), DistributedType.MULTI_CPU, "its type is MULTI_CPU"),
    ],
)
def test_what_was_made_of_another_strategy_is_refused(
    distributed: Distributed, kind: DistributedType, message: str
) -> None:
    with pytest.raises(StageError, match=message):
        made(distributed, kind, torch.nn.Linear(2, 2))


def test_another_stage_of_zero_is_refused() -> None:
    plugin = SimpleNamespace(deepspeed_config={"zero_optimization": ZERO | {"stage": 1}})
    with pytest.raises(StageError, match="`stage` is 1"):
        made(ZERO2, DistributedType.DEEPSPEED, DeepSpeedEngine(), deepspeed_plugin=plugin)


def test_a_model_that_drops_is_not_recomputed_by_fsdp() -> None:
    recomputed = FSDP(kind="fsdp", activation_checkpointing=True)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.1))
    with pytest.raises(StageError, match="does not repeat the dropout of 1"):
        made(recomputed, DistributedType.FSDP, model)


def test_sizes_are_those_of_whole_parameters() -> None:
    parameter = torch.nn.Parameter(torch.empty(0))
    parameter.ds_numel, parameter.ds_tensor = 12, torch.zeros(6)
    assert sharded.size(parameter) == 12
    assert sharded.here(parameter).numel() == 6
    assert sharded.size(torch.nn.Parameter(torch.zeros(3, 2))) == 6
