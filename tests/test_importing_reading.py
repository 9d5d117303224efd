"""YAML as the other tools read it: version 1.1, nothing executed, nothing lost."""

import pytest

from llmrecipe.diagnostics import RecipeError
from llmrecipe.importing.reading import leaves, parse


def _codes(text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse(text, "file.yaml")
    return [one.code for one in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2e-5", "2e-5"),
        ("2.0e-5", "2.0e-5"),
        ("2.0e-05", 2e-5),
        ("0.00002", 2e-5),
        ("~", None),
        ("", None),
        ("true", True),
        ("0x10", 16),
        ("2026-11-20", "2026-11-20"),
        ("'no'", "no"),
    ],
)
def test_plain_values_are_read_as_by_pyyaml(written: str, value: object) -> None:
    found = parse(f"key: {written}\nother: 1\n", "file.yaml")
    assert found.source.data["key"] == (2e-5 if written == "2.0e-5" else value)
    assert not found.surprises


@pytest.mark.parametrize(
    ("written", "value"), [("no", False), ("on", True), ("012", 10), ("1_000", 1000), ("1:30", 90), ("Yes", True)]
)
def test_values_that_mean_something_else_than_they_seem_to_are_told(written: str, value: object) -> None:
    found = parse(f"key: {written}\n", "file.yaml")
    assert found.source.data["key"] == value
    assert written in found.surprises[("key",)]


@pytest.mark.parametrize("tag", ["!!python/name:os.system", "!!python/object/apply:os.system [ls]", "!custom x"])
def test_tags_are_refused(tag: str) -> None:
    assert _codes(f"base_model: {tag}\n") == ["LR915"]


@pytest.mark.parametrize("text", ["a: [1\n", "a: 1\n b: 2\n", "a: 1\n---\nb: 2\n", "? [a]\n: 1\n", "a: &b [*b]\n"])
def test_what_is_no_single_mapping_of_yaml_is_refused(text: str) -> None:
    assert _codes(text) == ["LR915"]


@pytest.mark.parametrize("text", ["", "[1]\n", "text\n", "{}\n", "# nothing\n"])
def test_a_file_without_keys_is_none_of_a_tool(text: str) -> None:
    assert _codes(text) == ["LR914"]


def test_aliases_that_stand_for_too_much_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)]
    assert _codes("\n".join(lines)) == ["LR915"]


def test_merge_keys_are_written_out_and_what_they_lose_is_told() -> None:
    found = parse("base: &base {a: 1, b: 2}\nuse:\n  <<: *base\n  b: 3\n", "file.yaml")
    assert found.source.data["use"] == {"a": 1, "b": 3}
    assert [(leaf.path, leaf.value) for leaf in found.overwritten] == [(("use", "b"), 2)]


def test_a_key_that_is_written_twice_holds_the_last_value_and_the_first_is_told() -> None:
    found = parse("a: 1\nb: [1, 2]\na: {c: 3}\n", "file.yaml")
    assert found.source.data == {"a": {"c": 3}, "b": [1, 2]}
    assert [(leaf.path, leaf.value, leaf.span.line) for leaf in found.overwritten] == [(("a",), 1, 1)]


def test_leaves_are_the_values_without_values_in_them() -> None:
    data = {"a": {"b": [1, {"c": None}], "d": {}}, "e": []}
    assert list(leaves(data)) == [("a", "b", 0), ("a", "b", 1, "c"), ("a", "d"), ("e",)]


@pytest.mark.parametrize("depth", [100, 1500])
def test_values_that_are_nested_too_deep_are_refused(depth: int) -> None:
    assert _codes(f"a: {'[' * depth}{']' * depth}") == ["LR915"]
