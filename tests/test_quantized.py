"""Bases in 8 and 4 bits: what is learned on them, in spite of validations, and merging into the base of 16 bits."""

import importlib
import os
import signal
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import small
import torch
from peft import PeftModel
from test_train import at, forked, kill, lines, weights  # noqa: F401  `at` is a fixture
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from llmrecipe.plan import InputModel, LocalModel, Merge, Train
from llmrecipe.stages import adapters, evaluate, loading, merge, quantized, train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.vocabulary import NF4, DoRA, Int8, LoRA, Unquantized

bitsandbytes = pytest.importorskip("bitsandbytes")

EVERY: dict[str, Int8 | NF4] = {
    "int8": Int8(kind="int8"),
    "nf4": NF4(kind="nf4"),
    "nf4, single quantization": NF4(kind="nf4", double_quantization=False),
    "nf4 in bfloat16": NF4(kind="nf4", compute_dtype="bfloat16", quant_storage="float32"),
}
LORA = LoRA(kind="lora", r=4, lora_alpha=8)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Wide enough that layers are quantized in whole blocks."""
    return small.saved_model(tmp_path / "base", hidden_size=64, intermediate_size=128, head_dim=16)


def spec(base: Path, quantization: Any, method: str = "sft", **changes: Any) -> Train:
    origin = LocalModel(kind="local", path=str(base), sha256="")
    changes = {"adapter": LORA} | changes
    return small.train_spec(method, model=origin, quantization=quantization, **changes)


def layers(model: Any) -> set[str]:
    """Classes of the linear layers of the base."""
    return {type(module.base_layer).__name__ for module in model.modules() if hasattr(module, "base_layer")}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models as they are when training is over."""
    found: list[Any] = []
    save = train._save
    monkeypatch.setattr(train, "_save", lambda trainer, place: (found.append(trainer.model), save(trainer, place)))
    return found


@pytest.mark.parametrize(
    "name", [name if name == "nf4" else pytest.param(name, marks=pytest.mark.slow) for name in EVERY]
)
def test_an_adapter_learns_on_a_quantized_base_as_it_does_on_the_whole_one(
    name: str,
    at: Callable[..., Place],  # noqa: F811
    base: Path,
    trained: list[Any],
) -> None:
    whole = train.run(spec(base, Unquantized(kind="none")), at("whole"))
    held = train.run(spec(base, EVERY[name]), at("held"))
    assert layers(trained[1]) == {"Linear8bitLt" if name == "int8" else "Linear4bit"}
    assert {p.dtype for p in trained[1].parameters() if p.requires_grad} == {torch.float32}
    assert held["train_loss"] == pytest.approx(whole["train_loss"], rel=0.01)
    assert held["train_loss"] != whole["train_loss"]
    assert held["trainable_parameters"] == whole["trainable_parameters"]


@pytest.mark.parametrize(("name", "method"), [("int8", "sft"), ("nf4", "sft"), ("nf4", "pretrain")])
def test_validations_between_steps_change_nothing_of_what_is_learned(
    name: str,
    method: str,
    at: Callable[..., Place],  # noqa: F811
    base: Path,
) -> None:
    silent, watched = at("silent"), at("watched")
    train.run(spec(base, EVERY[name], method, arguments={"max_steps": 5}), silent)
    validated = {"max_steps": 5, "eval_strategy": "steps", "eval_steps": 2}
    train.run(spec(base, EVERY[name], method, arguments=validated), watched)
    assert all(torch.equal(weights(silent)[key], tensor) for key, tensor in weights(watched).items())


@pytest.mark.skipif(
    not bitsandbytes.functional.has_avx512bf16(), reason="only processors with AVX512-BF16 pack layers of 4 bits"
)
def test_without_the_guard_a_forward_pass_in_evaluation_cuts_gradients_off(base: Path) -> None:
    """What the guard is for. When this fails, bitsandbytes has mended it and the guard can go."""
    flows = {}
    for guarded in (True, False):
        model = AutoModelForCausalLM.from_pretrained(base, quantization_config=BitsAndBytesConfig(load_in_4bit=True))
        if guarded:
            quantized.guard(model)
        adapted = adapters.with_new_adapter(model, LORA, 1)
        loading.probe(adapted.eval())
        ids = torch.arange(5, 29).view(2, 12)
        adapted.train()(input_ids=ids, labels=ids).loss.backward()
        gradient = adapted.base_model.model.model.layers[0].mlp.down_proj.lora_B["default"].weight.grad
        flows[guarded] = gradient.norm().item()
    assert flows[False] != pytest.approx(flows[True], rel=0.05)


def test_no_layer_of_4_bits_may_be_packed(base: Path, at: Callable[..., Place], trained: list[Any]) -> None:  # noqa: F811
    """On a processor with AVX512-BF16 this fails without `quantized.guard`."""
    validated = {"max_steps": 2, "eval_strategy": "steps", "eval_steps": 1}
    train.run(spec(base, EVERY["nf4"], arguments=validated), at("place"))
    found = [m for m in trained[0].modules() if isinstance(m, bitsandbytes.nn.Linear4bit)]
    assert len(found) == 14
    assert not any(m.support_avx512bf16_for_cpu for m in found)
    assert not any(getattr(m.weight.quant_state, "packing_format_for_cpu", False) for m in found)


@pytest.mark.slow
def product_of_8_bits(inputs: torch.Tensor) -> torch.Tensor:
    """As CUDA's kernels compute it, which a processor can do as well."""
    autograd = importlib.import_module("bitsandbytes.autograd._functions")
    state = autograd.MatmulLtState()
    state.has_fp16_weights = False
    weight = torch.arange(8.0 * 4).reshape(8, 4).half()
    state.CB, state.SCB, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(weight, 0.0)
    found: torch.Tensor = autograd.MatMul8bitLt.apply(inputs, weight, None, None, state)
    return found


def test_a_product_with_8_bits_holds_no_input_and_has_the_gradient_of_one_that_does() -> None:
    def run() -> tuple[bool, torch.Tensor]:
        leaf = torch.linspace(-1, 1, 12).reshape(3, 4).half().requires_grad_()
        inputs = leaf * 2
        seen = weakref.ref(inputs)
        found = product_of_8_bits(inputs)
        del inputs
        held = seen() is not None
        found.float().square().sum().backward()
        assert leaf.grad is not None
        return held, leaf.grad

    plain = importlib.import_module("bitsandbytes.autograd._functions").MatMul8bitLt
    forward = getattr(plain.forward, "plain", plain.forward)
    with mock.patch.object(plain, "forward", forward):
        held, gradient = run()
        assert held
        quantized.forget_inputs()
        forgotten, same = run()
    assert not forgotten
    assert torch.equal(gradient, same)


@pytest.mark.parametrize("name", ["int8", "nf4"])
def test_a_killed_run_ends_with_the_very_weights_of_one_that_was_not(
    name: str,
    at: Callable[..., Place],  # noqa: F811
    base: Path,
) -> None:
    straight, resumed = at("straight"), at("resumed")
    train.run(spec(base, EVERY[name]), straight)
    assert os.WTERMSIG(forked(resumed, spec(base, EVERY[name]), 7, kill)) == signal.SIGKILL
    train.run(spec(base, EVERY[name]), resumed)
    assert all(torch.equal(weights(straight)[key], tensor) for key, tensor in weights(resumed).items())
    assert lines(straight) == lines(resumed)


def test_recomputed_activations_give_the_same_adapter(at: Callable[..., Place], base: Path) -> None:  # noqa: F811
    plain, recomputed = at("plain"), at("recomputed")
    train.run(spec(base, EVERY["nf4"]), plain)
    train.run(spec(base, EVERY["nf4"], arguments={"activation_checkpointing": True}), recomputed)
    for key, tensor in weights(recomputed).items():
        assert torch.allclose(weights(plain)[key], tensor, atol=1e-6), key


@pytest.mark.parametrize(
    ("name", "adapter"), [("int8", LORA), ("nf4", LORA), ("nf4", DoRA(kind="dora", r=4, lora_alpha=8))],
    ids=["int8", "nf4", "nf4 under dora"],
)  # fmt: skip
def test_the_adapter_is_merged_in_float32_into_the_base_of_16_bits(
    name: str,
    adapter: LoRA | DoRA,
    at: Callable[..., Place],  # noqa: F811
    tmp_path: Path,
) -> None:
    small.model(hidden_size=64, intermediate_size=128, head_dim=16).to(torch.bfloat16).save_pretrained(
        tmp_path / "half"
    )
    small.tokenizer().save_pretrained(tmp_path / "half")
    place = at("place")
    train.run(spec(tmp_path / "half", EVERY[name], adapter=adapter), place)
    merging = small.place(tmp_path / "merge", model=tmp_path / "half", adapter=place.output / "model")
    merge.run(Merge(kind="merge", model=small.INPUT, trust_remote_code=False), merging)
    found = AutoModelForCausalLM.from_pretrained(merging.output / "model", dtype="auto")
    assert not getattr(found.config, "quantization_config", None)
    exact = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="float32"), place.output / "model"
    ).merge_and_unload()
    for key, weight in exact.named_parameters():
        assert torch.equal(found.get_parameter(key), weight.to(torch.bfloat16)), key


def test_an_unmerged_adapter_is_evaluated_on_the_whole_base(
    at: Callable[..., Place],  # noqa: F811
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = at("place")
    train.run(spec(base, EVERY["nf4"]), place)
    judged: list[Any] = []
    measure = evaluate._perplexity
    monkeypatch.setattr(evaluate, "_perplexity", lambda spec, place, model: (
        judged.append(model), measure(spec, place, model))[1])  # fmt: skip
    suite = evaluate.PerplexitySuite(kind="perplexity", name="perplexity", batch_size=2)
    wanted = evaluate.Evaluate(kind="evaluate", suite=suite, model=InputModel(kind="input"), dtype="auto",
                               attention="sdpa", trust_remote_code=False)  # fmt: skip
    judging = small.place(place.root / "judge", model=base, adapter=place.output / "model",
                          dataset=place.inputs["dataset"])  # fmt: skip
    evaluate.run(wanted, judging)
    assert layers(judged[0]) == {"Linear"}


def test_preferences_are_learned_on_a_quantized_base(at: Callable[..., Place], base: Path) -> None:  # noqa: F811
    place = at("place", "preference")
    arguments = {"loss_type": ["sigmoid"], "eval_strategy": "steps", "eval_steps": 2}
    found = train.run(spec(base, EVERY["nf4"], "dpo", packed=False, arguments=arguments), place)
    assert found["train_loss"] < 0.69


def test_a_base_that_is_quantized_already_is_refused(at: Callable[..., Place], base: Path, tmp_path: Path) -> None:  # noqa: F811
    config = BitsAndBytesConfig(load_in_8bit=True)
    AutoModelForCausalLM.from_pretrained(base, quantization_config=config).save_pretrained(tmp_path / "held")
    small.tokenizer().save_pretrained(tmp_path / "held")
    with pytest.raises(StageError, match="is quantized already"):
        train.run(spec(tmp_path / "held", Unquantized(kind="none")), at("place"))


def test_without_bitsandbytes_the_extra_to_install_is_named(
    at: Callable[..., Place],  # noqa: F811
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(quantized.importlib, "import_module", missing)
    with pytest.raises(StageError) as error:
        quantized.options(spec(base, EVERY["nf4"]))
    assert "llmrecipe[quantization]" in error.value.help
