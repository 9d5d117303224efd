"""Options of speed and memory change neither losses nor what is refused."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
import torch

from llmrecipe.stages import speed, train
from llmrecipe.stages.place import StageError
from llmrecipe.trainers import supervised

Losses = Callable[..., list[float]]


@pytest.fixture
def losses(tmp_path: Path) -> Losses:
    """The losses of some steps of training."""
    base = small.saved_model(tmp_path / "base", num_hidden_layers=3)
    data = {
        True: small.dataset(tmp_path / "packed", list(small.packed_rows(20))),
        False: small.dataset(tmp_path / "padded", list(small.padded_rows(20))),
    }
    count = iter(range(10))

    def run(method: str, packed: bool, **arguments: Any) -> list[float]:
        arguments = {"logging_steps": 1, "max_steps": 6, **arguments}
        spec = small.train_spec(method, packed=packed, model=small.INPUT, arguments=arguments)
        place = small.place(tmp_path / str(next(count)), dataset=data[packed], tokenizer=base, model=base)
        train.run(spec, place)
        return [line["loss"] for line in small.log(place)]

    return run


CHECKPOINTING: dict[str, dict[str, Any]] = {
    "every layer": {},
    "every other layer": {"use_reentrant": False, "every_n_layers": 2},
    "not attention": {"use_reentrant": False, "selective": True},
}


@pytest.mark.parametrize("method", ["pretrain", "sft"])
@pytest.mark.parametrize("options", CHECKPOINTING)
def test_recomputed_activations_give_the_same_losses(options: str, method: str, losses: Losses) -> None:
    chosen = {"activation_checkpointing": True, "activation_checkpointing_kwargs": CHECKPOINTING[options] or None}
    assert losses(method, True, **chosen) == pytest.approx(losses(method, True), rel=1e-6)


def test_what_attention_computed_is_kept(losses: Losses, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    kept = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default

    class Count(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            counted[-1] += func is kept
            return func(*args, **(kwargs or {}))

    for options in ({}, {"use_reentrant": False, "selective": True}):
        counted.append(0)
        with Count():
            losses("pretrain", True, max_steps=1, activation_checkpointing=True,
                   activation_checkpointing_kwargs=options or None)  # fmt: skip
    assert counted[1] < counted[0]


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16")
@pytest.mark.parametrize(("method", "packed"), [("pretrain", True), ("sft", False)])
def test_bfloat16_follows_the_curve_of_float32(method: str, packed: bool, losses: Losses) -> None:
    assert losses(method, packed, bf16=True) == pytest.approx(losses(method, packed), rel=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "packed"), [("pretrain", True), ("sft", False)])
def test_a_compiled_model_gives_the_same_losses(
    method: str, packed: bool, losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch._dynamo.reset()
    compiled: list[int] = []
    original = torch._inductor.compile_fx.compile_fx
    monkeypatch.setattr(
        "torch._inductor.compile_fx.compile_fx", lambda *a, **k: compiled.append(1) or original(*a, **k)
    )
    found = losses(method, packed, torch_compile=True)
    assert compiled
    assert found == pytest.approx(losses(method, packed), rel=1e-5)


def liger(monkeypatch: pytest.MonkeyPatch, families: tuple[str, ...]) -> None:
    module = types.ModuleType(speed.LIGER)
    module.MODEL_TYPE_TO_APPLY_LIGER_FN = dict.fromkeys(families)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, speed.LIGER, module)


def test_liger_is_asked_for_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small.train_spec(arguments={"use_liger_kernel": True})
    with pytest.raises(StageError, match="needs the package liger-kernel"):
        speed.prepare(spec, small.model())
    liger(monkeypatch, ("qwen3",))
    speed.prepare(spec, small.model())
    with pytest.raises(StageError, match="no kernels for models of the family `gpt2`"):
        speed.prepare(spec, small.model("gpt2"))


def test_compiling_stops_before_the_loss() -> None:
    assert supervised._loss._torchdynamo_disable
