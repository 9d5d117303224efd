"""Adapters: every initialisation and option trains, resumes, merges exactly and loads in plain PEFT on the base as it was."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from peft import PeftModel
from safetensors.torch import load_file
from test_train import at, forked, kill, lines, weights  # noqa: F401  `at` is a fixture
from transformers import AutoModelForCausalLM

from llmrecipe.plan import LocalModel, Merge, Train
from llmrecipe.stages import adapters, loading, merge, train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.loraplus import split_groups
from llmrecipe.vocabulary import DoRA, LoRA

LAYERS = ["q_proj", "v_proj", "down_proj"]


def lora(**options: Any) -> LoRA:
    return LoRA(kind="lora", **{"r": 4, "lora_alpha": 8, **options})


def dora(**options: Any) -> DoRA:
    return DoRA(kind="dora", **{"r": 4, "lora_alpha": 8, **options})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return small.saved_model(tmp_path / "base")


def spec(base: Path, adapter: LoRA | DoRA, method: str = "sft", **changes: Any) -> Train:
    origin = LocalModel(kind="local", path=str(base), sha256="")
    return small.train_spec(method, model=origin, adapter=adapter, **changes)


ADAPTERS: dict[str, LoRA | DoRA] = {
    **{name: lora(init_lora_weights=name)
       for name in ("gaussian", "orthogonal", "pissa", "pissa_niter_4", "olora")},
    "pissa, rank-stabilised, with patterns": lora(
        init_lora_weights="pissa", use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 16}
    ),
    "dora": dora(),
    "dora from pissa": dora(init_lora_weights="pissa"),
    "patterns": lora(rank_pattern={"q_proj": 2, r"layers\.1\.mlp\.down_proj": 6}, alpha_pattern={"v_proj": 16}),
    "some layers": lora(target_modules=LAYERS, layers_to_transform=[1]),
    "all but": lora(exclude_modules=["gate_proj", "up_proj"]),
    "tokens": lora(trainable_token_indices=[3, 7, 11]),
    "a module": lora(modules_to_save=["norm"]),
    "biases": lora(bias="lora_only"),
    "loraplus": lora(loraplus_lr_ratio=8.0),
}  # fmt: skip


def merged(base: Path, adapter: Path, folder: Path) -> Any:
    place = small.place(folder, model=base, adapter=adapter)
    merge.run(Merge(kind="merge", model=small.INPUT, trust_remote_code=False), place)
    return AutoModelForCausalLM.from_pretrained(place.output / "model").eval()


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_was_trained_is_the_adapter_on_the_base_as_it_was_and_the_merged_model(
    name: str,
    at: Callable[..., Place],  # noqa: F811
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[torch.Tensor] = []
    save = train._save
    monkeypatch.setattr(train, "_save", lambda trainer, place: (
        trained.append(loading.probe(trainer.model.eval())), save(trainer, place)))  # fmt: skip
    place = at("place")
    train.run(spec(base, ADAPTERS[name]), place)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), place.output / "model").eval()
    whole = merged(base, place.output / "model", tmp_path / "merge")
    expected = trained[0]
    assert (loading.probe(AutoModelForCausalLM.from_pretrained(base).eval()) - expected).abs().max() > 1e-2
    assert (loading.probe(plain) - expected).abs().max() < 2e-5
    assert (loading.probe(whole) - expected).abs().max() < 2e-5
    assert {p.name for p in (place.output / "model").iterdir()} >= {"adapter_model.safetensors", "adapter_config.json"}
