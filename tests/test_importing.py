"""Files of other tools: every value is accounted for, most of them can be said, and what is written is a recipe."""

import copy
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmrecipe import importing
from llmrecipe.importing import TOOLS, Imported, Options, convert
from llmrecipe.importing.reading import leaves
from llmrecipe.importing.reading import read as read_configuration

SAMPLES = Path(__file__).parent / "importing"
FILES = sorted(SAMPLES.glob("*/*.yaml"))
KEYS: dict[str, dict[str, int]] = yaml.safe_load((SAMPLES / "keys.yaml").read_text("utf-8"))

WHY_NOT: dict[str, set[str]] = {"axolotl/qlora-chat.yaml": {"LR260"}}
"""Samples whose recipe is not valid, and what is said of it: a template that does not mark the assistant's turns."""


SAID: dict[str, Options] = {
    name: Options(num_accelerators=8)
    for name in ("axolotl/full-fsdp-old.yaml", "axolotl/deepspeed.yaml", "llamafactory/full-sft.yaml")
}
"""Samples that are for several devices and do not say for how many."""


def _name(file: Path) -> str:
    return file.relative_to(SAMPLES).as_posix()


@pytest.fixture(scope="module")
def imported() -> dict[str, Imported]:
    return {_name(file): convert(str(file), options=SAID.get(_name(file))) for file in FILES}


def test_there_are_enough_samples() -> None:
    counts = Counter(file.parent.name for file in FILES)
    assert counts["axolotl"] >= 12
    assert counts["llamafactory"] >= 8
    assert counts["trl"] >= 4


def test_the_tool_is_seen_by_its_keys(imported: dict[str, Imported]) -> None:
    assert {name: found.tool.name for name, found in imported.items()} == {
        _name(file): file.parent.name for file in FILES
    }


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_every_value_is_mapped_or_dropped_or_blocks_and_only_one_of_them(
    file: Path, imported: dict[str, Imported]
) -> None:
    entries = imported[_name(file)].entries
    by_fate = {fate: {one.path for one in entries if one.fate == fate} for fate in ("mapped", "dropped", "blocking")}
    assert sum(map(len, by_fate.values())) == len(entries)
    assert set.union(*by_fate.values()) == set(leaves(read_configuration(str(file)).source.data))
    assert all(one.to for one in entries if one.fate == "mapped")
    assert all(one.because for one in entries if one.fate == "dropped")
    assert all(one.because and one.help for one in entries if one.fate == "blocking")


def test_what_blocks_is_a_diagnostic_at_its_line(imported: dict[str, Imported]) -> None:
    for found in imported.values():
        lines = {one.span.line for one in found.diagnostics if one.severity == "error"}
        assert {one.span.line for one in found.entries if one.fate == "blocking"} <= lines


@pytest.mark.parametrize("tool", TOOLS)
def test_at_least_95_percent_of_all_values_can_be_said_or_need_not_be(tool: str, imported: dict[str, Imported]) -> None:
    entries = [one for name, found in imported.items() if name.startswith(tool) for one in found.entries]
    blocking = sum(one.fate == "blocking" for one in entries)
    assert 1 - blocking / len(entries) >= 0.95


@pytest.mark.parametrize("tool", KEYS)
def test_every_frequent_key_is_known_and_stands_in_a_sample(tool: str) -> None:
    written = {key for file in FILES if file.parent.name == tool for key in yaml.safe_load(file.read_text("utf-8"))}
    assert [key for key in KEYS[tool] if key not in TOOLS[tool].keys] == []
    assert [key for key in KEYS[tool] if key not in written] == []


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_what_is_written_is_a_valid_recipe_or_it_is_said_why_not(file: Path, imported: dict[str, Imported]) -> None:
    found = imported[_name(file)]
    assert {one.code for one in found.findings if one.severity == "error"} == WHY_NOT.get(_name(file), set())


def test_what_is_implied_stands_in_the_recipe(imported: dict[str, Imported]) -> None:
    for name, found in imported.items():
        recipe = yaml.safe_load(found.text)
        for one in found.implied:
            value: Any = recipe
            for part in one.path.split("."):
                assert part in value, (name, one.path)
                value = value[part]


def test_the_recipe_has_the_line_for_editors_and_the_order_of_the_language(imported: dict[str, Imported]) -> None:
    for found in imported.values():
        lines = found.text.splitlines()
        assert lines[0] == "# yaml-language-server: $schema=recipe.schema.json"
        assert lines[1].startswith("# Imported from ")
        assert lines[2] == "version: 1"
        assert lines[3].startswith("name: ")
        assert lines[4] == "model:"
        assert max(map(len, lines)) <= 121


def test_the_same_file_gives_the_same_recipe() -> None:
    file = str(SAMPLES / "axolotl/qlora-chat.yaml")
    assert convert(file) == convert(file)


ODD: tuple[Any, ...] = (
    None, {}, [], "x", -1, 0, 1.5, True, False, {"a": [1]}, ["a", {"b": None}], [[1]], "", 10**30, "nan", float("inf"),
)  # fmt: skip


def _changed(data: Any, chance: random.Random) -> Any:
    """A copy in which one value is something else, or gone."""
    data = copy.deepcopy(data)
    path = chance.choice(list(leaves(data)))
    inner = data
    for part in path[:-1]:
        inner = inner[part]
    if chance.random() < 0.15 and len(data) > 1:
        del inner[path[-1]]
    else:
        inner[path[-1]] = chance.choice(ODD)
    return data


def test_no_value_makes_an_import_fail_or_be_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "findings", lambda text, output: [])
    chance = random.Random(7)
    for number in range(250):
        file = chance.choice(FILES)
        data = _changed(_changed(yaml.safe_load(file.read_text("utf-8")), chance), chance)
        changed = tmp_path / f"{number}.yaml"
        changed.write_text(yaml.safe_dump(data, sort_keys=False), "utf-8")
        found = convert(str(changed), file.parent.name)
        assert {one.path for one in found.entries} == set(leaves(read_configuration(str(changed)).source.data))
        assert len({one.path for one in found.entries}) == len(found.entries)


def test_the_number_of_devices_makes_the_global_batch() -> None:
    found = convert(str(SAMPLES / "axolotl/qlora-chat.yaml"), options=Options(num_accelerators=4))
    recipe = yaml.safe_load(found.text)
    assert recipe["training"]["global_batch_size"] == 2 * 4 * 4
    assert recipe["hardware"]["num_accelerators"] == 4
    assert recipe["distributed"] == {"kind": "ddp"}
