"""A verdict is kept as long as nothing that it depends on changes, and no longer."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrecipe.cli import verdicts as module
from llmrecipe.cli.verdict_cache import VerdictCache
from llmrecipe.cli.verdicts import Verdict, verdicts

RECIPE = """\
extends: [shared.yaml]
version: 1
name: style
model: {base: {recipe: "first.yaml#first"}, adapter: {kind: lora}}
data: {train: [{kind: files, paths: [rows.jsonl, "more/*.jsonl"], format: messages}]}
method: {kind: sft}
tokenizer: {kind: reuse, chat_template: template.jinja}
"""
FIRST = (
    RECIPE.replace("extends: [shared.yaml]\n", "")
    .replace("style", "first")
    .replace('{base: {recipe: "first.yaml#first"}, adapter: {kind: lora}}', "{base: ./base}")
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a recipe that depends on a good deal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMRECIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("llmrecipe.cli.verdict_cache._tools", lambda: "this")  # A checkout may change meanwhile.
    files = {
        "recipe.yaml": RECIPE,
        "first.yaml": FIRST,
        "shared.yaml": "training: {seed: 1}\n",
        "rows.jsonl": "{}\n",
        "more/a.jsonl": "{}\n",
        "base/config.json": "{}",
        "template.jinja": "{{ messages }}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def cached() -> tuple[Verdict, bool]:
    """The verdict, and whether it came from the cache."""
    made: list[str] = []
    whole = module.findings

    def noted(file: str) -> object:
        made.append(file)
        return whole(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "findings", noted)
        return verdicts(["recipe.yaml"], VerdictCache())["recipe.yaml"], not made


CHANGES: dict[str, Callable[[], object]] = {
    "the file": lambda: Path("recipe.yaml").write_text(RECIPE.replace("sft", "stf")),
    "a file that it extends": lambda: Path("shared.yaml").write_text("training: {sed: 1}\n"),
    "a recipe that it refers to": lambda: Path("first.yaml").write_text(FIRST.replace("sft", "stf")),
    "a data file goes": lambda: Path("rows.jsonl").unlink(),
    "a data file is emptied": lambda: Path("rows.jsonl").write_text(""),
    "nothing matches a glob": lambda: Path("more/a.jsonl").unlink(),
    "a template goes": lambda: Path("template.jinja").unlink(),
    "a model loses its configuration": lambda: Path("base/config.json").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_it_depends_on_makes_a_new_verdict(change: str) -> None:
    before, _ = cached()
    assert cached() == (before, True)
    CHANGES[change]()
    after, kept = cached()
    assert not kept
    assert any(one.severity == "error" for one in after.findings)
    assert after == Verdict(tuple(module.findings("recipe.yaml")), after.files)
    assert cached()[0] == after


def test_a_lock_that_comes_is_seen() -> None:
    Path("recipe.yaml").write_text(RECIPE.replace('{recipe: "first.yaml#first"}', "owner/name"))
    assert "LR701" in {one.code for one in cached()[0].findings}
    Path("recipe.yaml.lock").write_text("{}")
    assert "LR701" not in {one.code for one in cached()[0].findings}


def test_what_does_not_matter_keeps_the_verdict() -> None:
    before, _ = cached()
    os.utime("rows.jsonl", (1, 1))
    os.utime("recipe.yaml", (1, 1))
    Path("other.yaml").write_text("x: 1\n")
    assert cached() == (before, True)


def test_fixes_come_out_of_the_cache_as_they_went_in() -> None:
    Path("recipe.yaml").write_text(RECIPE.replace("tokenizer", "tokeniser") + "training: {watchdgo: {}}\n")
    before, _ = cached()
    assert all(one.fix is not None for one in before.findings)
    assert cached() == (before, True)


def test_a_missing_file_is_looked_for_each_time() -> None:
    Path("recipe.yaml").write_text(RECIPE.replace("shared.yaml", "shraed.yaml"))
    assert cached()[0].findings[0].help == "did you mean `shared.yaml`?"
    Path("shared.yaml").rename("shraed.yaml")
    assert not cached()[0].findings


def test_another_version_or_folder_begins_anew(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    cached()
    monkeypatch.setattr("llmrecipe.cli.verdict_cache._tools", lambda: "another")
    assert not cached()[1]
    (folder / "deep").mkdir()
    monkeypatch.chdir(folder / "deep")
    assert VerdictCache().get("recipe.yaml") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"tools": 1}', "\0"])
def test_a_broken_cache_is_an_empty_one(text: str, folder: Path) -> None:
    before, _ = cached()
    (file,) = (folder / "cache" / "verdicts").iterdir()
    file.write_text(text)
    assert cached() == (before, False)


def test_a_cache_that_cannot_be_written_is_done_without(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("LLMRECIPE_CACHE", str(folder / "file"))
    assert cached()[0].findings == cached()[0].findings
