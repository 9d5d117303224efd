"""Pins: what is hashed, what a stale lock says, and what the Hub is asked."""

import pytest

from llmrecipe import hub
from llmrecipe.diagnostics import RecipeError
from llmrecipe.hashing import file_sha256
from llmrecipe.lock import dump, lock_file, locked, pin
from llmrecipe.paths import suffix

RECIPE = """
version: 1
name: style
model: {base: ./model}
tokenizer: {kind: reuse, chat_template: ./chat.jinja}
data:
  train:
    - {kind: files, paths: [part-*.jsonl], format: messages}
    - {kind: hub, dataset: some/rows, format: messages}
method: {kind: sft}
"""


@pytest.fixture
def documents(read, write):
    write("model/config.json", "{}")
    write("chat.jinja", "{{ messages }}")
    write("part-1.jsonl", "one")
    write("part-2.jsonl", "two")
    return read(RECIPE)


def problems(error: pytest.ExceptionInfo[RecipeError]) -> list[tuple[str, int, str]]:
    return [(found.code, found.span.line, found.message) for found in error.value.diagnostics]


def commit(kind: str, repo: str, revision: str | None) -> str:
    return "c" * 40


def test_globs_are_pinned_file_by_file_in_the_order_of_their_names(documents, tmp_path):
    (files,) = pin(documents, tmp_path).files.values()
    assert [(file.path, file.size) for file in files] == [("part-1.jsonl", 3), ("part-2.jsonl", 3)]
    assert files[0].sha256 == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data/a.jsonl", ".jsonl"),
        ("data/A.JSONL.gz", ".jsonl.gz"),
        ("data/no-extension", ""),
        ("https://host/rows.csv?version=2.1", ".csv"),
        ("simplecache::https://host/rows.parquet", ".parquet"),
        ("zip://rows.csv::https://host/all.zip", ".csv"),
    ],
)
def test_a_name_says_how_its_file_is_read(path, expected):
    assert suffix(path) == expected


def test_without_a_lock_hub_repositories_are_told_as_unpinned(documents, tmp_path):
    assert pin(documents, tmp_path).unpinned == ["dataset some/rows"]


def test_the_hub_is_asked_only_when_somebody_gives_the_means(documents, tmp_path):
    lock = pin(documents, tmp_path, commit=commit)
    assert lock.commits == {"dataset some/rows": "c" * 40}
    assert lock.unpinned == []


def test_a_full_commit_in_the_recipe_needs_no_pin(documents, read, tmp_path):
    pinned = read(RECIPE, f"data.train.1.revision={'a' * 40}")
    assert pin(pinned, tmp_path).unpinned == []


def test_a_lock_that_holds_gives_its_commits(documents, tmp_path):
    known = pin(documents, tmp_path, commit=commit)
    assert pin(documents, tmp_path, known) == known


STALE = [
    ("part-2.jsonl", "TWO", 8, "`part-2.jsonl` has changed since it was locked"),
    ("part-3.jsonl", "three", 8, "`part-3.jsonl` is new since it was locked"),
    ("model/config.json", '{"a": 1}', 4, "`style:model.base` has changed since it was locked"),
    ("chat.jinja", "", 5, "`style:tokenizer.chat_template` has changed since it was locked"),
]


@pytest.mark.parametrize(("file", "text", "line", "message"), STALE, ids=[row[0] for row in STALE])
def test_whatever_changed_since_the_lock_is_named_at_its_line(documents, write, tmp_path, file, text, line, message):
    known = pin(documents, tmp_path, commit=commit)
    write(file, text)
    with pytest.raises(RecipeError) as error:
        pin(documents, tmp_path, known)
    assert problems(error) == [("LR790", line, message)]


def test_a_file_that_is_gone_is_named(documents, tmp_path):
    known = pin(documents, tmp_path, commit=commit)
    (tmp_path / "part-1.jsonl").unlink()
    with pytest.raises(RecipeError) as error:
        pin(documents, tmp_path, known)
    assert problems(error) == [("LR790", 8, "`part-1.jsonl` is gone since it was locked")]


def test_another_version_of_a_package_makes_the_lock_stale(documents, tmp_path):
    known = pin(documents, tmp_path, commit=commit)
    other = known.model_copy(update={"packages": known.packages | {"torch": "1.0"}})
    with pytest.raises(RecipeError) as error:
        pin(documents, tmp_path, other)
    ((code, _, message),) = problems(error)
    assert code == "LR790"
    assert message.startswith("torch is ")


def test_a_repository_that_the_lock_does_not_know_makes_it_stale(documents, read, tmp_path):
    known = pin(documents, tmp_path, commit=commit)
    with pytest.raises(RecipeError) as error:
        pin(read(RECIPE, "data.train.1.dataset=other/rows"), tmp_path, known)
    assert [message for _, _, message in problems(error)] == ["the lock has no commit of dataset other/rows"]


def test_a_lock_read_equals_the_lock_written(documents, tmp_path, write):
    lock = pin(documents, tmp_path, commit=commit)
    recipe = tmp_path / "recipe.yaml"
    write(lock_file(recipe).name, dump(lock))
    assert locked(recipe) == lock


@pytest.mark.parametrize("text", ["", "{", "{}", '{"version": 2}'])
def test_something_else_in_the_place_of_a_lock_is_refused(write, tmp_path, text):
    write("recipe.yaml.lock", text)
    with pytest.raises(RecipeError) as error:
        locked(tmp_path / "recipe.yaml")
    assert problems(error)[0][0] == "LR792"


def test_a_file_that_may_not_be_read_is_told_with_what_to_do(documents, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("llmrecipe.lock.file_sha256", refuse)
    with pytest.raises(RecipeError) as error:
        pin(documents, tmp_path)
    told = {(found.code, found.help) for found in error.value.diagnostics}
    assert told == {("LR791", "check its permissions")}


def test_no_lock_is_no_lock(tmp_path):
    assert locked(tmp_path / "recipe.yaml") is None


def test_a_hub_that_cannot_be_reached_is_told_at_the_line_that_needs_it(documents, tmp_path):
    def silent(kind: str, repo: str, revision: str | None) -> str:
        raise ValueError("dataset `some/rows` cannot be pinned: the Hub cannot be reached (ConnectError)")

    with pytest.raises(RecipeError) as error:
        pin(documents, tmp_path, commit=silent)
    ((code, line, message),) = problems(error)
    assert (code, line) == ("LR793", 9)
    assert "cannot be reached" in message


def test_offline_the_hub_is_said_to_be_offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="model `a/b` at `v1` cannot be pinned: HF_HUB_OFFLINE is set"):
        hub.commit("model", "a/b", "v1")


def test_a_large_file_is_hashed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("llmrecipe.hashing._BIG", 1)
    file = tmp_path / "weights"
    file.write_text("abc")
    known = file_sha256(file)
    (remembered,) = (tmp_path / "cache" / "llmrecipe" / "hashes").iterdir()
    remembered.write_text("remembered")
    assert file_sha256(file) == "remembered"
    file.write_text("abcd")
    assert file_sha256(file) not in {known, "remembered"}
