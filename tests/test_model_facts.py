"""Rows of published models: each is a model to the last number, and is made from its config.json."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from llmrecipe.facts import ModelFacts, models

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import generate_model_facts

ROWS = {facts: repo for repo, facts in reversed(list(models().items()))}


def config_json(repo: str, **changed: Any) -> dict[str, Any]:
    """What the config.json of a published model says, as far as its row does."""
    values: dict[str, Any] = json.loads(generate_model_facts.config_of(models()[repo]).to_json_string())
    return values | {"dtype": models()[repo].dtype} | changed


@pytest.mark.parametrize("facts", ROWS, ids=ROWS.values())
def test_a_row_is_a_model_with_exactly_its_parameters(facts: ModelFacts) -> None:
    assert generate_model_facts.numbers(generate_model_facts.config_of(facts)) == facts.parameters


@pytest.mark.parametrize("repo", ["Qwen/Qwen2.5-3B", "mistralai/Mixtral-8x7B-v0.1", "microsoft/phi-4",
                                  "openai-community/gpt2", "google-bert/bert-base-uncased"])  # fmt: skip
def test_a_row_is_made_from_a_configuration(repo: str) -> None:
    row = generate_model_facts.row_of(repo, config_json(repo))
    facts = models()[repo]
    assert {name: row.get(name) for name in ("family", "parameters", "dtype")} == {
        "family": facts.family, "parameters": facts.parameters, "dtype": facts.dtype
    }  # fmt: skip
    made = ModelFacts(**{name: value for name, value in row.items() if name != "repos"})
    assert dataclasses.replace(made, source=facts.source) == facts


def test_quantized_weights_are_noted() -> None:
    written = config_json("openai/gpt-oss-20b", quantization_config={"quant_method": "mxfp4"})
    assert generate_model_facts.row_of("openai/gpt-oss-20b", written)["quantization"] == "mxfp4"


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`gemma9` is not in facts/architectures\.json"):
        generate_model_facts.row_of("a/b", {"model_type": "gemma9"})
    with pytest.raises(
        ValueError, match=r"it has 13,271,808 numbers, and .* counts .*: teach it the family `opt` first"
    ):
        generate_model_facts.row_of("a/b", {"model_type": "opt", "num_hidden_layers": 1, "vocab_size": 6000})


def test_a_row_joins_replaces_or_stays() -> None:
    rows = [{"repos": ["a/base", "a/chat"], "hidden_size": 1, "source": "a"}, {"repos": ["b"], "hidden_size": 2}]
    same = {"repos": ["a/chat"], "hidden_size": 1, "source": "of another file"}
    assert generate_model_facts.entered(rows, same) == rows
    assert generate_model_facts.entered(rows, {"repos": ["c"], "hidden_size": 2})[1]["repos"] == ["b", "c"]
    changed = generate_model_facts.entered(rows, {"repos": ["a/chat"], "hidden_size": 3})
    assert [row["repos"] for row in changed] == [["a/base"], ["b"], ["a/chat"]]
    assert [row["repos"] for row in generate_model_facts.entered(rows, {"repos": ["b"], "hidden_size": 4})] == [
        ["a/base", "a/chat"], ["b"]
    ]  # fmt: skip


def test_the_command_writes_the_table_and_names_what_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, file = tmp_path / "models.json", tmp_path / "config.json"
    before = generate_model_facts.TABLE.read_text("utf-8")
    table.write_text(before, "utf-8")
    file.write_text(json.dumps(config_json("openai-community/gpt2")), "utf-8")
    monkeypatch.setattr(generate_model_facts, "TABLE", table)
    monkeypatch.setattr(sys, "argv", ["script", f"openai-community/gpt2={file}", f"my/gpt2={file}", "a/b=missing.json"])
    assert generate_model_facts.main() == 1
    assert "a/b=missing.json: " in capsys.readouterr().err
    assert table.read_text("utf-8") == before.replace(
        '["openai-community/gpt2"]', '["openai-community/gpt2", "my/gpt2"]'
    )
