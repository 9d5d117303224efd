"""Merging models: each formula against a slow one, files and types, adapters, and what does not fit together."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from test_merge import adapter
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmrecipe.document import Document
from llmrecipe.lock import pin
from llmrecipe.lower import lower
from llmrecipe.plan import Combine, Combined, InputModel, LocalModel
from llmrecipe.stages import combine, combining, loading
from llmrecipe.stages.place import StageError


def tensors(count: int, shape: tuple[int, ...] = (7, 5)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def numbers(tensor: torch.Tensor) -> list[float]:
    return tensor.double().flatten().tolist()


# -- formulas, number by number in Python --


@pytest.mark.parametrize("normalize", [True, False])
def test_linear_is_the_weighted_sum_or_mean(normalize: bool) -> None:
    given, weights = tensors(3), [0.5, 2.0, -0.25]
    rows = zip(*map(numbers, given), strict=True)
    expected = [sum(w * x for w, x in zip(weights, row, strict=True)) for row in rows]
    expected = [x / sum(weights) if normalize else x for x in expected]
    assert numbers(combining.linear(given, weights, normalize)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp_keeps_the_length_and_divides_the_angle(t: float) -> None:
    first, second = (tensor / tensor.norm() for tensor in tensors(2))
    found = combining.slerp(first, second, t)
    whole, part = (math.acos(float((first * other).sum())) for other in (second, found))
    assert float(found.norm()) == pytest.approx(1, abs=1e-6)
    assert part == pytest.approx(t * whole, abs=1e-3)


def test_slerp_of_parallel_or_empty_tensors_is_the_line() -> None:
    (first,) = tensors(1)
    assert torch.allclose(combining.slerp(first, 3 * first, 0.5), 2 * first)
    assert torch.allclose(combining.slerp(torch.zeros(3), torch.ones(3), 0.25), torch.full((3,), 0.25))


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 1.0])
def test_only_the_largest_numbers_stay(density: float) -> None:
    (difference,) = tensors(1)
    values = numbers(difference)
    kept = max(1, int(density * len(values)))
    chosen = sorted(range(len(values)), key=lambda i: -abs(values[i]))[:kept]
    expected = [x if i in chosen else 0.0 for i, x in enumerate(values)]
    assert numbers(combining.largest(difference, density)) == pytest.approx(expected)


def test_what_is_dropped_is_random_seeded_and_made_up_for() -> None:
    difference = torch.ones(200, 200)
    found = combining.dropped(difference, 0.25, "42 0 a")
    assert set(numbers(found)) == {0.0, 4.0}
    assert float((found != 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert torch.equal(found, combining.dropped(difference, 0.25, "42 0 a"))
    assert not torch.equal(found, combining.dropped(difference, 0.25, "42 1 a"))


@pytest.mark.parametrize("normalize", [True, False])
def test_only_those_who_agree_on_the_sign_are_summed(normalize: bool) -> None:
    given, weights = tensors(3), [1.0, 0.5, 2.0]
    expected = []
    for row in zip(*map(numbers, given), strict=True):
        weighted = [w * x for w, x in zip(weights, row, strict=True)]
        positive = sum(weighted) >= 0
        agreeing = [(w, v) for w, v in zip(weights, weighted, strict=True) if v and (v > 0) == positive]
        total = sum(v for _, v in agreeing)
        expected.append(total / sum(w for w, _ in agreeing) if normalize and agreeing else total)
    assert numbers(combining.agreeing(given, weights, normalize)) == pytest.approx(expected, abs=1e-6)


# -- the stage --


def spec(method: str, models: list[Combined], base: Combined | None = None, **fields: Any) -> Combine:
    return Combine(
        kind="combine", method=method, models=models, base=base, trust_remote_code=False,
        **{"t": None, "normalize": False, "seed": 1, **fields},
    )  # fmt: skip


def inputs(*names: str, **fields: Any) -> list[Combined]:
    return [Combined(model=InputModel(kind="input", name=name), **fields) for name in names]


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """A base and two models that are some way from it."""
    folders = {"base": small.saved_model(tmp_path / "base")}
    for seed, name in enumerate(("first", "second"), start=1):
        model, other = small.model(seed=0), small.model(seed=seed)
        with torch.no_grad():
            for parameter, away in zip(model.parameters(), other.parameters(), strict=True):
                parameter += 0.3 * away
        model.save_pretrained(tmp_path / name)
        small.tokenizer().save_pretrained(tmp_path / name)
        folders[name] = tmp_path / name
    return folders


def state(folder: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    return {name: tensor.detach() for name, tensor in model.named_parameters()}


def difference(folder: Path, other: Path) -> float:
    one, two = state(folder), state(other)
    return max(float((one[name].float() - two[name].float()).abs().max()) for name in one)


def test_weights_of_one_give_one_of_the_models_back(models: dict[str, Path], tmp_path: Path) -> None:
    base = inputs("base")[0]
    whole = {"weight": 1.0, "density": 1.0}
    cases = {
        "linear": spec("linear", [*inputs("first", weight=0.0), *inputs("second")], normalize=True),
        "slerp": spec("slerp", inputs("first", "second"), t=1.0),
        "task_arithmetic": spec("task_arithmetic", inputs("second", **whole), base),
        "ties": spec("ties", [*inputs("first", weight=0.0), *inputs("second", **whole)], base, normalize=True),
        "dare_linear": spec("dare_linear", inputs("second", **whole), base),
        "dare_ties": spec("dare_ties", [*inputs("first", weight=0.0), *inputs("second", **whole)], base),
    }
    for name, wanted in cases.items():
        place = small.place(tmp_path / name, **models)
        metrics = combine.run(wanted, place)
        assert difference(place.output / "model", models["second"]) < 1e-6, name
        assert metrics["parameters"] == small.model().num_parameters()


@pytest.mark.parametrize("head", ["reward", "causal"])
def test_a_base_of_a_reward_model_has_no_head_yet(head: str, models: dict[str, Path], tmp_path: Path) -> None:
    place = small.place(tmp_path / "place", **models)
    combine.run(spec("linear", inputs("first", "second", weight=1.0), normalize=True, head=head), place)
    assert difference(place.output / "model", models["second"]) > 0


def test_a_merge_of_task_vectors_is_the_sum_that_one_writes_by_hand(models: dict[str, Path], tmp_path: Path) -> None:
    place = small.place(tmp_path / "place", **models)
    parts = [*inputs("first", weight=0.7), *inputs("second", weight=-0.2)]
    metrics = combine.run(spec("task_arithmetic", parts, inputs("base")[0]), place)
    found, base, first, second = (state(f) for f in (place.output / "model", *models.values()))
    moved = 0.0
    for name, tensor in found.items():
        expected = base[name] + 0.7 * (first[name] - base[name]) - 0.2 * (second[name] - base[name])
        assert torch.allclose(tensor, expected, atol=1e-6), name
        moved += float((expected - base[name]).square().sum())
    size = sum(float(tensor.square().sum()) for tensor in base.values())
    assert metrics["changed"] == pytest.approx(math.sqrt(moved / size), rel=1e-4)


def test_several_files_are_read_and_written_and_the_type_stays(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "half"
    AutoModelForCausalLM.from_pretrained(models["first"], dtype="bfloat16").save_pretrained(half, max_shard_size="40KB")
    small.tokenizer().save_pretrained(half)
    assert len(list(half.glob("*.safetensors"))) > 1
    monkeypatch.setattr(combine, "SHARD_BYTES", 30_000)
    place = small.place(tmp_path / "place", half=half, second=models["second"])
    combine.run(spec("linear", inputs("half", "second"), normalize=True), place)
    files = sorted(path.name for path in (place.output / "model").glob("*.safetensors"))
    assert len(files) > 1
    assert files[0] == f"model-00001-of-{len(files):05}.safetensors"
    found, first, second = state(place.output / "model"), state(half), state(models["second"])
    for name, tensor in found.items():
        assert torch.equal(tensor, ((first[name].float() + second[name]) / 2).to(torch.bfloat16)), name
    assert AutoTokenizer.from_pretrained(place.output / "model").chat_template == small.tokenizer().chat_template


def test_an_adapter_counts_as_its_base_with_the_update(models: dict[str, Path], tmp_path: Path) -> None:
    trained = {name: adapter(models["base"], tmp_path / name, r=rank) for name, rank in (("a", 4), ("b", 2))}
    parts = [
        Combined(model=InputModel(kind="input", name="base"), adapter=name, weight=weight)
        for name, weight in (("a", 0.5), ("b", 0.25))
    ]
    place = small.place(tmp_path / "place", base=models["base"], **trained)
    combine.run(spec("task_arithmetic", parts, inputs("base")[0]), place)
    whole = AutoModelForCausalLM.from_pretrained(models["base"])
    merged = combine.adapters.with_adapter(whole, trained["a"])
    merged.load_adapter(str(trained["b"]), "b")
    merged.add_weighted_adapter(["default", "b"], [0.5, 0.25], "sum", combination_type="cat")
    merged.set_adapter("sum")
    found = AutoModelForCausalLM.from_pretrained(place.output / "model").eval()
    assert (loading.probe(found) - loading.probe(merged.eval())).abs().max() < 1e-5


def test_an_adapter_on_a_base_of_16_bits_is_written_in_16_bits(tmp_path: Path) -> None:
    small.model().to(torch.bfloat16).save_pretrained(tmp_path / "base")
    small.tokenizer().save_pretrained(tmp_path / "base")
    trained = adapter(tmp_path / "base", tmp_path / "a")
    part = Combined(model=InputModel(kind="input", name="base"), adapter="a")
    place = small.place(tmp_path / "place", base=tmp_path / "base", a=trained)
    combine.run(spec("linear", [part, part], normalize=True), place)
    assert {tensor.dtype for tensor in state(place.output / "model").values()} == {torch.bfloat16}


def test_models_of_other_shapes_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    wide = small.saved_model(tmp_path / "wide", intermediate_size=96)
    place = small.place(tmp_path / "place", first=models["first"], wide=wide)
    with pytest.raises(StageError, match=r"has the shape \[32, 64\] in `first` and \[32, 96\] in `wide`"):
        combine.run(spec("linear", inputs("first", "wide")), place)


def test_models_of_other_layers_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    deep = small.saved_model(tmp_path / "deep", num_hidden_layers=3)
    place = small.place(tmp_path / "place", first=models["first"], deep=deep)
    with pytest.raises(StageError, match=r"only `deep` has `model\.layers\.2\."):
        combine.run(spec("linear", inputs("first", "deep")), place)


def test_models_with_other_tokenizers_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    file = models["second"] / "tokenizer.json"
    content = json.loads(file.read_text("utf-8"))
    words = content["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    file.write_text(json.dumps(content), "utf-8")
    place = small.place(tmp_path / "place", **models)
    with pytest.raises(StageError, match="number 2 tokens differently: 'a'"):
        combine.run(spec("linear", inputs("first", "second")), place)


def test_a_folder_without_safetensors_is_told(models: dict[str, Path], tmp_path: Path) -> None:
    (models["second"] / "model.safetensors").unlink()
    place = small.place(tmp_path / "place", first=models["first"])
    second = Combined(model=LocalModel(kind="local", path=str(models["second"]), sha256=""))
    with pytest.raises(StageError, match="has no weights in safetensors files"):
        combine.run(spec("linear", [*inputs("first"), second]), place)


# -- the language --

DOCUMENTS = """\
version: 1
name: base
model:
  base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
tokenizer: {kind: train, vocab_size: 1000}
data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
method: {kind: pretrain}
---
version: 1
name: one
model: {base: {recipe: base}, adapter: {kind: lora}}
data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
method: {kind: sft}
export: {merge: false}
---
version: 1
name: two
model: {base: {recipe: base}}
data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
method: {kind: sft}
---
version: 1
name: both
model:
  base:
    merge:
      kind: ties
      base: {recipe: base}
      models: [{model: {recipe: one}, weight: 0.6, density: 0.3}, {model: {recipe: two}}]
"""


@pytest.fixture
def planned(read: Callable[..., list[Document]], tmp_path: Path) -> Callable[[str], Any]:
    def planned(text: str) -> Any:
        (tmp_path / "corpus.txt").write_text("words\n")
        (tmp_path / "chats.jsonl").write_text('{"messages": []}\n')
        documents = read(text)
        return lower([document.recipe for document in documents], pin(documents, tmp_path))

    return planned


def test_a_merge_is_a_stage_before_all_others_and_the_base_of_the_recipe(planned: Callable[[str], Any]) -> None:
    plan = planned(DOCUMENTS)
    stage = plan.stage("both/combine")
    assert stage.inputs == {
        "base": "base/export.model",
        "models_0": "one/export.model",
        "models_0_base": "base/export.model",
        "models_1": "two/export.model",
    }
    first, second = stage.spec.models
    assert (first.model.name, first.adapter, first.weight, first.density) == ("models_0_base", "models_0", 0.6, 0.3)
    assert (second.model.name, second.adapter, second.weight, second.density) == ("models_1", None, 1.0, 0.5)
    assert plan.stage("both/export").inputs["model"] == "both/combine.model"
    assert plan.stage("both/export").spec.base == "ties merge of base, one, two"


def test_every_number_of_a_merge_is_part_of_its_address(planned: Callable[[str], Any]) -> None:
    changes = [("", ""), ("0.6", "0.7"), ("0.3", "0.4"), ("kind: ties", "kind: dare_ties"),
               ("{recipe: two}}]", "{recipe: two}, weight: 2.0}]")]  # fmt: skip
    found = [planned(DOCUMENTS.replace(*change)).addresses()["both/combine"] for change in changes]
    assert all(one != two for one, two in itertools.combinations(found, 2))


def test_a_merge_can_be_trained(planned: Callable[[str], Any]) -> None:
    plan = planned(
        DOCUMENTS + "data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}\nmethod: {kind: sft}\n"
    )
    assert plan.stage("both/train").inputs["model"] == "both/combine.model"
    assert plan.stage("both/tokenize").inputs["model"] == "both/combine.model"


def test_folders_of_a_merge_are_pinned(planned: Callable[[str], Any], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"name": "{name}"}}')
    text = """\
version: 1
name: both
model: {base: {merge: {kind: slerp, t: 0.3, models: [{model: ./a}, {model: ./b}]}}}
"""
    stage = planned(text).stage("both/combine")
    hashes = [part.model.sha256 for part in stage.spec.models]
    assert all(len(digest) == 64 for digest in hashes)
    assert hashes[0] != hashes[1]
    assert stage.spec.t == 0.3
    assert stage.inputs == {}
