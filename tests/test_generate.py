"""What is made from code is fresh, and the schema says of a recipe what the language says."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from llmrecipe import facts
from llmrecipe.lint import RULES
from llmrecipe.recipe import Recipe
from llmrecipe.source import load, parse

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "schemas/recipe.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
FOLDERS = ("recipes", "examples", "tests/recipes")
SHIPPED = sorted(
    file
    for folder in FOLDERS
    for file in ROOT.glob(f"{folder}/**/*.yaml")
    if re.search("^version: 1$", file.read_text("utf-8"), re.MULTILINE)
)
FREE = {"metadata", "columns", "json_schema", "rank_pattern", "alpha_pattern", "values"}


def mended() -> list[dict[str, Any]]:
    """Every recipe that a manual page shows as right."""
    pages = [rule.page.rpartition("```yaml\n")[2].partition("```")[0] for rule in RULES.values()]
    return [source.data for page in pages for source in parse(page, "page")]


def shipped(file: Path) -> list[dict[str, Any]]:
    return [source.data for source in load(str(file))]


@pytest.mark.slow
def test_everything_that_is_made_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["recipe", "plan"])
def test_a_schema_is_itself_valid_closed_and_described(name: str) -> None:
    schema = json.loads((ROOT / f"schemas/{name}.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    for section, definition in {"": schema, **schema["$defs"]}.items():
        if "properties" in definition:
            assert definition["additionalProperties"] is False, section
            assert definition["description"], section


def test_every_field_of_a_recipe_is_described_and_every_section_has_an_example() -> None:
    for section, definition in SCHEMA["$defs"].items():
        for name, field in definition.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, f"{section}.{name}"
        for example in definition.get("examples", ()):
            errors = list(Draft202012Validator({**definition, "$defs": SCHEMA["$defs"]}).iter_errors(example))
            assert not errors, section
        assert definition.get("examples") or section == "JsonValue", section


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_shipped_recipe_fits_the_schema(file: Path) -> None:
    for data in shipped(file):
        assert [error.message for error in VALIDATOR.iter_errors(data)] == []


def test_every_recipe_of_the_manual_pages_fits_the_schema() -> None:
    for data in mended():
        assert [error.message for error in VALIDATOR.iter_errors(data)] == []


def _mappings(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Places of all mappings whose keys the language knows."""
    if isinstance(value, dict):
        if not FREE & set(at) and "extra" not in at[:-1]:
            yield at
        for key, item in value.items():
            yield from _mappings(item, (*at, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _mappings(item, (*at, i))


def test_an_unknown_key_is_refused_at_every_depth() -> None:
    tried = 0
    for data in [*mended(), *(data for file in SHIPPED for data in shipped(file))]:
        for at in _mappings(data):
            seeded = copy.deepcopy(data)
            target: Any = seeded
            for key in at:
                target = target[key]
            target["surprise"] = 1
            assert not VALIDATOR.is_valid(seeded), at
            tried += 1
    assert tried > 300


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"extends": ["base.yaml"]}, True),
        ({"extends": "base.yaml"}, False),
        ({"version": 2}, False),
        ({"name": "No Capitals"}, False),
        ({"hardware": {"accelerator": "h100"}}, False),
        ({"method": {"kind": "sft", "beta": 0.1}}, False),
        ({"method": {"kind": "dpo", "beta": 0}}, False),
        ({"data": {"train": []}}, False),
        ({"data": {"train": [{"kind": "hub", "dataset": "a/b", "format": "text"}], "validation": {}}}, False),
        ({"serving": {"kind": "vllm", "extra": {"enforce_eager": True}}}, True),
        ({"serving": {"kind": "vllm", "extra": {"enforce_eager": "yes"}}}, False),
        ({"serving": {"kind": "vllm", "extra": {"swap_space": 4}}}, False),
        ({"training": {"extra": {"neftune_noise_alpha": 5}}}, True),
        ({"training": {"extra": {"no_such_option": 5}}}, False),
        ({"metadata": {"anything": [1, {"goes": None}]}}, True),
    ],
)
def test_the_schema_decides_as_the_language_does(change: dict[str, Any], valid: bool) -> None:
    data = {"version": 1, "name": "a", "model": {"base": "owner/name"}} | change
    assert VALIDATOR.is_valid(data) is valid


@pytest.mark.parametrize("missing", ["version", "name", "model"])
def test_what_a_document_must_have_may_come_from_what_it_extends(missing: str) -> None:
    data = {"version": 1, "name": "a", "model": {"base": "owner/name"}}
    del data[missing]
    assert not VALIDATOR.is_valid(data)
    assert VALIDATOR.is_valid({**data, "extends": ["base.yaml"]})


def test_a_path_of_every_field_of_the_language_can_be_explained() -> None:
    assert {path.partition(".")[0] for path in facts.recipe_fields()} == {*Recipe.model_fields, "extends"}
