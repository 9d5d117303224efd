"""Merging: the same function, in the type of the base."""

from pathlib import Path
from typing import Any

import pytest
import small
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmrecipe.plan import Merge
from llmrecipe.stages import adapters, loading, merge
from llmrecipe.stages.place import StageError

SPEC = Merge(kind="merge", model=small.INPUT, trust_remote_code=False)


def adapter(base: Path, folder: Path, **options: Any) -> Path:
    """An adapter with weights that change the model, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    torch.manual_seed(1)
    fields = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False}
    adapted = get_peft_model(model, LoraConfig(**(fields | options)))
    for name, p in adapted.named_parameters():
        if "modules_to_save" in name:
            torch.nn.init.normal_(p, std=0.1)
    adapted.save_pretrained(folder)
    small.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("options", [{}, {"use_dora": True}, {"use_rslora": True}], ids=str)
def test_a_merged_model_gives_the_logits_of_the_adapter_on_its_base(options: dict[str, Any], tmp_path: Path) -> None:
    base = small.saved_model(tmp_path / "base")
    place = small.place(tmp_path, model=base, adapter=adapter(base, tmp_path / "adapter", **options))
    metrics = merge.run(SPEC, place)
    adapted = adapters.with_adapter(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter").eval()
    merged = AutoModelForCausalLM.from_pretrained(place.output / "model").eval()
    assert metrics["max_logit_difference"] < 1e-4
    assert (loading.probe(adapted) - loading.probe(merged)).abs().max() < 1e-4
    assert (loading.probe(small.model()) - loading.probe(merged)).abs().max() > 1e-2
    assert metrics["parameters"] == small.model().num_parameters()
    assert not loading.is_adapter(place.output / "model")
    assert AutoTokenizer.from_pretrained(place.output / "model").chat_template == small.tokenizer().chat_template


def test_the_sum_is_made_in_float32_and_written_in_the_type_of_the_base(tmp_path: Path) -> None:
    small.model().to(torch.bfloat16).save_pretrained(tmp_path / "base")
    place = small.place(tmp_path, model=tmp_path / "base", adapter=adapter(tmp_path / "base", tmp_path / "adapter"))
    merge.run(SPEC, place)
    merged = AutoModelForCausalLM.from_pretrained(place.output / "model", dtype="auto")
    exact = adapters.with_adapter(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype="float32"), tmp_path / "adapter"
    )
    for name, weight in exact.merge_and_unload().named_parameters():
        assert torch.equal(merged.get_parameter(name), weight.to(torch.bfloat16)), name


def test_a_head_that_was_trained_apart_from_its_embeddings_survives(tmp_path: Path) -> None:
    base = small.saved_model(tmp_path / "base")
    trained = adapter(base, tmp_path / "adapter", modules_to_save=["lm_head"])
    place = small.place(tmp_path, model=base, adapter=trained)
    merge.run(SPEC, place)
    adapted = adapters.with_adapter(AutoModelForCausalLM.from_pretrained(base), trained).eval()
    merged = AutoModelForCausalLM.from_pretrained(place.output / "model").eval()
    assert (loading.probe(adapted) - loading.probe(merged)).abs().max() < 1e-4


def test_a_merge_that_changes_the_function_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = small.saved_model(tmp_path / "base")
    place = small.place(tmp_path, model=base, adapter=adapter(base, tmp_path / "adapter"))
    monkeypatch.setattr("peft.tuners.lora.Linear.get_delta_weight", lambda self, name: torch.zeros(()))
    with pytest.raises(StageError, match="differs from the adapter on its base"):
        merge.run(SPEC, place)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    other = small.saved_model(tmp_path / "other", hidden_size=64, head_dim=16)
    place = small.place(
        tmp_path, model=small.saved_model(tmp_path / "base"), adapter=adapter(other, tmp_path / "adapter")
    )
    with pytest.raises(StageError, match="does not fit the base model"):
        merge.run(SPEC, place)
