"""The folder that leaves: complete, loadable, described, checksummed, and silent about this machine."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import small
import torch
import yaml
from peft import PeftModel
from test_merge import adapter
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from llmrecipe.plan import Export, HubModel, Record, Spec
from llmrecipe.stages import export, loading, merge
from llmrecipe.stages.place import Place, StageError
from llmrecipe.vocabulary import Safetensors

RECIPE = "version: 1\nname: house-style\n"
HUB = HubModel(kind="hub", repo="Qwen/Qwen3-0.6B", revision="c1899de289a04d12100db370d81485cdf75e47ca")


def spec(**changes: Any) -> Export:
    fields = {
        "kind": "export", "formats": [Safetensors(kind="safetensors")], "model": small.INPUT, "name": "house-style",
        "license": "apache-2.0", "description": "Writes as the house does.", "base": "Qwen/Qwen3-0.6B",
        "recipe": RECIPE, "trust_remote_code": False,
    }  # fmt: skip
    return Export(**(fields | changes))


def artifact(folder: Path, address: str, stage_spec: Spec, inputs: dict[str, str], **metrics: float) -> Path:
    """An artifact of the store with its record."""
    path = folder / "artifacts" / address
    path.mkdir(parents=True)
    record = Record(
        name=f"house-style/{address}", address=address, spec=stage_spec, inputs=inputs, metrics=metrics, seconds=1.0,
        packages={"llmrecipe": "0.1.0", "torch": "2.13.0", "absent": None},
    )  # fmt: skip
    (path / "stage.json").write_text(record.model_dump_json(), encoding="utf-8")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A merged model with everything behind it."""
    trained = artifact(tmp_path, "trained", small.train_spec("sft", model=HUB), {}, train_loss=1.25, steps=12)
    (trained / "model").mkdir()
    merged = artifact(tmp_path, "merged", merge_spec(), {"adapter": "trained/model"}, max_logit_difference=1e-6)
    small.saved_model(merged / "model")
    reports: dict[str, Any] = {
        "prepare_report": {
            "sources": [
                {
                    "label": "data.train[0]",
                    "rows_in": 20,
                    "dropped": {"too short": 2},
                    "names": ["/home/me/secret.jsonl"],
                }
            ],
            "drop_samples": {"too short": [{"where": "/home/me/secret.jsonl:3", "text": "hush"}]},
        },
        "tokenize_report": {"train": {"tokens": 12345, "truncated_share": 0.125}},
    }
    inputs = {"model": merged / "model"}
    for name, report in reports.items():
        inputs[name] = tmp_path / name
        inputs[name].mkdir()
        (inputs[name] / "report.json").write_text(json.dumps(report), encoding="utf-8")
    inputs["metrics_perplexity"] = tmp_path / "metrics"
    inputs["metrics_perplexity"].mkdir()
    (inputs["metrics_perplexity"] / "metrics.json").write_text('{"perplexity": 8.25, "tokens": 1000}', encoding="utf-8")
    return small.place(tmp_path, **inputs)


def merge_spec() -> Spec:
    return merge.Merge(kind="merge", model=HUB, trust_remote_code=False)


def test_the_folder_is_complete_and_loads_in_plain_transformers_with_the_same_logits(place: Place) -> None:
    metrics = export.run(spec(), place)
    folder = place.output / "model"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "README.md", "SHA256SUMS",
    }  # fmt: skip
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert torch.equal(loading.probe(loaded), loading.probe(small.model()))
    assert metrics["parameters"] == loaded.num_parameters()
    assert metrics["files"] == len(names) - 1


def test_every_file_has_its_checksum(place: Place) -> None:
    export.run(spec(), place)
    folder = place.output / "model"
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=True)
    assert len(checked.stdout.splitlines()) == len(list(folder.iterdir())) - 1
    (folder / "config.json").write_text("{}")
    assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True).returncode != 0


def test_all_that_ends_an_answer_stands_in_the_generation_configuration(place: Place) -> None:
    config = GenerationConfig(eos_token_id=9, temperature=0.6, do_sample=True)
    config.save_pretrained(place.inputs["model"])
    tokenizer = AutoTokenizer.from_pretrained(place.inputs["model"])
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<pad>{% endfor %}"
    tokenizer.save_pretrained(place.inputs["model"])
    export.run(spec(), place)
    written = json.loads((place.output / "model" / "generation_config.json").read_bytes())
    assert written["eos_token_id"] == [tokenizer.eos_token_id, tokenizer.pad_token_id, 9]
    assert written["pad_token_id"] == tokenizer.pad_token_id
    assert written["temperature"] == 0.6


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_are_written_in_the_type_and_in_the_shards_that_were_asked_for(dtype: str, place: Place) -> None:
    shutil.rmtree(place.inputs["model"])
    small.saved_model(place.inputs["model"], hidden_size=256, head_dim=64, intermediate_size=1024)
    export.run(spec(formats=[Safetensors(kind="safetensors", dtype=dtype, max_shard_size="1MB")]), place)
    folder = place.output / "model"
    assert AutoModelForCausalLM.from_pretrained(folder, dtype="auto").dtype == getattr(torch, dtype)
    shards = list(folder.glob("*.safetensors"))
    assert len(shards) > 1
    assert (folder / "model.safetensors.index.json").is_file()


def test_the_card_says_what_the_model_is_made_of(place: Place) -> None:
    export.run(spec(), place)
    text = (place.output / "model" / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": "Qwen/Qwen3-0.6B", "license": "apache-2.0", "library_name": "transformers",
        "pipeline_tag": "text-generation", "tags": ["llmrecipe", "sft"],
    }  # fmt: skip
    for part in (
        "# house-style",
        "Writes as the house does.",
        f"{HUB.repo}@{HUB.revision}",
        RECIPE.strip(),
        "| perplexity | perplexity | 8.25 |",
        "| train_loss | 1.25 |",
        "sources / data.train[0] / rows_in: 20",
        "sources / data.train[0] / dropped / too short: 2",
        "train / tokens: 12,345",
        "train / truncated_share: 0.125",
        "| house-style/trained | `trained` |",
        "torch 2.13.0",
    ):
        assert part in body, part
    assert body.index("house-style/trained") < body.index("house-style/merged")


def test_nothing_that_leaves_names_a_folder_or_a_row_of_this_machine(place: Place) -> None:
    export.run(spec(), place)
    for file in (place.output / "model").iterdir():
        for secret in (str(place.root), "/home/me", "hush"):
            assert secret.encode() not in file.read_bytes(), (file.name, secret)


def test_a_model_from_scratch_needs_no_base_licence_or_records(tmp_path: Path) -> None:
    place = small.place(tmp_path, model=small.saved_model(tmp_path / "made"))
    export.run(spec(base=None, license=None, description=None), place)
    text = (place.output / "model" / "README.md").read_text(encoding="utf-8")
    assert "Trained from scratch." in text
    assert "base_model" not in text
    assert "license" not in text


def test_an_adapter_leaves_alone_and_names_its_base_by_the_id(place: Place, tmp_path: Path) -> None:
    base = small.saved_model(tmp_path / "base")
    trained = tmp_path / "artifacts" / "trained" / "model"
    adapter(base, trained)
    alone = small.place(tmp_path / "alone", model=trained)
    metrics = export.run(spec(), alone)
    folder = alone.output / "model"
    config = json.loads((folder / "adapter_config.json").read_bytes())
    assert (config["base_model_name_or_path"], config["revision"]) == (HUB.repo, HUB.revision)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    assert metrics["parameters"] == sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(small.tokenizer())
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "library_name: peft" in text
    assert 'PeftModel.from_pretrained(base, "house-style")' in text
    assert not any(str(tmp_path).encode() in file.read_bytes() for file in folder.iterdir())


@pytest.mark.parametrize(("base", "named"), [("/home/me/models/mine", "mine"), ("./mine", "mine"), ("sft", "sft")])
def test_a_base_that_is_no_id_is_named_without_its_folder(base: str, named: str, tmp_path: Path) -> None:
    model = small.saved_model(tmp_path / "base")
    place = small.place(tmp_path, model=adapter(model, tmp_path / "adapter"))
    export.run(spec(base=base), place)
    folder = place.output / "model"
    assert json.loads((folder / "adapter_config.json").read_bytes())["base_model_name_or_path"] == named
    assert "/home/me" not in (folder / "README.md").read_text(encoding="utf-8")


def test_a_model_that_does_not_come_back_as_it_was_is_not_exported(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = loading.probe
    calls = []

    def drifting(model: Any) -> torch.Tensor:
        calls.append(model)
        return before(model) + (1e-6 if len(calls) > 1 else 0)

    monkeypatch.setattr(loading, "probe", drifting)
    with pytest.raises(StageError, match="other logits"):
        export.run(spec(), place)


def test_a_tokenizer_that_does_not_come_back_as_it_was_is_not_exported(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = small.tokenizer()
    tokenizer.chat_template = None
    monkeypatch.setattr(export.AutoTokenizer, "from_pretrained", lambda *_, **__: tokenizer)
    with pytest.raises(StageError, match="tokenizer does not encode"):
        export._check_tokenizer(place.output, small.tokenizer(), False)
