"""`llmrecipe compile`: what it writes, replaces, leaves alone, compares and refuses."""

import json
import stat
from pathlib import Path

import pytest
from goldens import PIPELINE, SCRATCH

from llmrecipe.cli import compiled_folder, main
from llmrecipe.cli.compiled_folder import LIST, CompiledFolder
from llmrecipe.cli.front import UsageError


@pytest.fixture
def recipe(tmp_path):
    """Copies a recipe and its data into a folder of the test, and returns its path."""

    def recipe(source: Path) -> Path:
        (tmp_path / "data").mkdir()
        for path in (source, *(source.parent / "data").iterdir()):
            (tmp_path / path.relative_to(source.parent)).write_bytes(path.read_bytes())
        return tmp_path / source.name

    return recipe


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_default_is_the_local_run(recipe, tmp_path, capsys):
    assert main(["compile", str(recipe(SCRATCH)), "-o", str(tmp_path / "out")]) == 0
    files = tree(tmp_path / "out")
    assert {"plan.json", "run.sh", "stages/01-scratch-prepare-data.json", LIST} < files.keys()
    assert stat.S_IMODE((tmp_path / "out" / "run.sh").stat().st_mode) == 0o755
    assert f"{tmp_path / 'out'}: {len(files) - 1} files" in capsys.readouterr().out


def test_all_targets_share_a_folder(recipe, tmp_path):
    targets = [word for name in ("local", "vllm", "compose", "kubernetes") for word in ("--target", name)]
    assert main(["compile", str(recipe(PIPELINE)), "-o", str(tmp_path / "out"), *targets]) == 0
    assert {"run.sh", "vllm/answers.sh", "compose/compose.yaml", "kubernetes/20-run.yaml"} < tree(
        tmp_path / "out"
    ).keys()


def test_compiling_again_changes_no_byte(recipe, tmp_path, capsys):
    words = ["compile", str(recipe(SCRATCH)), "-o", str(tmp_path / "out")]
    main(words)
    before, times = tree(tmp_path / "out"), (tmp_path / "out" / "run.sh").stat().st_mtime_ns
    assert main(words) == 0
    assert tree(tmp_path / "out") == before
    assert (tmp_path / "out" / "run.sh").stat().st_mtime_ns == times
    assert "0 of them changed" in capsys.readouterr().out


def test_the_script_knows_the_way_back_to_the_recipe(recipe, tmp_path):
    main(["compile", str(recipe(SCRATCH)), "-o", str(tmp_path / "a" / "b c")])
    assert "default_root=../..\n" in (tmp_path / "a" / "b c" / "run.sh").read_text()


def test_check_is_silent_when_nothing_differs(recipe, tmp_path, capsys):
    words = ["compile", str(recipe(SCRATCH)), "-o", str(tmp_path / "out")]
    main(words)
    capsys.readouterr()
    assert main([*words, "--check"]) == 0
    assert capsys.readouterr().out == ""


def test_check_shows_what_differs_and_writes_nothing(recipe, tmp_path, capsys):
    path = recipe(SCRATCH)
    words = ["compile", str(path), "-o", str(tmp_path / "out")]
    main(words)
    path.write_text(path.read_text().replace("max_steps: 4", "max_steps: 5"))
    (tmp_path / "out" / "accelerate" / "scratch-train.yaml").unlink()
    before = tree(tmp_path / "out")
    capsys.readouterr()
    assert main([*words, "--check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert '-      "max_steps": 4,' in lines
    assert '+      "max_steps": 5,' in lines
    assert "+++ compiled/accelerate/scratch-train.yaml" in lines
    assert tree(tmp_path / "out") == before


def test_check_of_a_folder_that_is_not_there_shows_everything(recipe, tmp_path, capsys):
    assert main(["compile", str(recipe(SCRATCH)), "-o", str(tmp_path / "out"), "--check"]) == 1
    assert "+++ compiled/run.sh" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_longer_made_are_removed(recipe, tmp_path, capsys):
    path = str(recipe(PIPELINE))
    main(["compile", path, "-o", str(tmp_path / "out"), "--target", "compose", "--target", "vllm"])
    assert main(["compile", path, "-o", str(tmp_path / "out"), "--target", "vllm", "--check"]) == 1
    assert main(["compile", path, "-o", str(tmp_path / "out"), "--target", "vllm"]) == 0
    assert tree(tmp_path / "out").keys() == {"vllm/answers.yaml", "vllm/answers.sh", LIST}
    assert not (tmp_path / "out" / "compose").exists()
    assert "removed: compose/compose.yaml" in capsys.readouterr().out


def test_a_file_that_was_edited_by_hand_is_not_removed(recipe, tmp_path, capsys):
    path, out = str(recipe(PIPELINE)), tmp_path / "out"
    main(["compile", path, "-o", str(out), "--target", "compose"])
    (out / "compose" / "compose.yaml").write_text("mine")
    (out / "compose" / "override.yaml").write_text("mine too")
    assert main(["compile", path, "-o", str(out)]) == 0
    assert {"compose/compose.yaml", "compose/override.yaml"} < tree(out).keys()
    assert "kept since it was edited: compose/compose.yaml" in capsys.readouterr().err


def test_a_target_that_the_recipe_is_not_about_is_an_error_of_the_recipe(recipe, tmp_path, capsys):
    path = recipe(SCRATCH)
    assert main(["compile", str(path), "-o", str(tmp_path / "out"), "--target", "vllm", "--target", "compose"]) == 1
    error = capsys.readouterr().err
    assert "error[LR690]: the recipe has no `serving`, which `vllm` needs" in error
    assert "the recipe has no `serving`, which `compose` needs" in error
    assert "add `serving: {kind: vllm}`" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["thesis.txt", "run.sh"])
def test_a_folder_of_somebody_else_is_left_alone(recipe, tmp_path, capsys, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    assert main(["compile", str(recipe(SCRATCH)), "-o", str(tmp_path / "out")]) == 2
    assert (
        "is not empty and `llmrecipe compile` did not write it; name another folder with -o" in capsys.readouterr().err
    )
    assert tree(tmp_path / "out") == {name: b"mine"}


def test_a_file_in_the_way_is_left_alone(recipe, tmp_path, capsys):
    path, out = str(recipe(PIPELINE)), tmp_path / "out"
    main(["compile", path, "-o", str(out), "--target", "vllm"])
    (out / "run.sh").write_text("mine")
    before = tree(out)
    assert main(["compile", path, "-o", str(out)]) == 2
    assert "run.sh is in the way: `llmrecipe compile` did not write it; remove it" in capsys.readouterr().err
    assert tree(out) == before


def test_a_file_as_folder_is_refused(recipe, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert main(["compile", str(recipe(SCRATCH)), "-o", str(tmp_path / "out")]) == 2
    assert "is a file; name a folder with -o" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    folder = CompiledFolder(tmp_path / "out")
    (tmp_path / "out").symlink_to("nowhere/at/all")
    with pytest.raises(UsageError, match="out cannot be written: File exists"):
        folder.write({"a": "b"})


@pytest.mark.parametrize(
    "text", ["", "{", "{}", "[]", '{"files": []}', '{"files": {"../secret": "0"}}', '{"files": {"/etc/passwd": "0"}}']
)
def test_a_damaged_list_is_refused(tmp_path, text):
    (tmp_path / LIST).write_text(text)
    with pytest.raises(UsageError, match="is damaged; remove"):
        CompiledFolder(tmp_path)


def test_after_a_kill_between_two_files_the_next_compile_mends_the_folder(tmp_path, monkeypatch):
    CompiledFolder(tmp_path / "out").write({"a": "1", "b": "1", "old": "1"})
    new = {"a": "2", "b": "2", "c": "2"}
    put = CompiledFolder._put
    for last in (LIST, "a", "b", "c"):

        def killed(self, name, text, last=last):
            put(self, name, text)
            if name == last:
                raise KeyboardInterrupt

        monkeypatch.setattr(CompiledFolder, "_put", killed)
        with pytest.raises(KeyboardInterrupt):
            CompiledFolder(tmp_path / "out").write(new)
        monkeypatch.setattr(CompiledFolder, "_put", put)
        CompiledFolder(tmp_path / "out").write(new)
        files = tree(tmp_path / "out")
        assert {name: files[name].decode() for name in new} == new
        assert files.keys() == {*new, LIST}
        assert json.loads(files[LIST])["files"].keys() == new.keys()
        CompiledFolder(tmp_path / "out").write({"a": "1", "b": "1", "old": "1"})


def test_the_list_names_every_file_with_its_hash(tmp_path):
    CompiledFolder(tmp_path).write({"a/b": "text"})
    assert json.loads((tmp_path / LIST).read_text()) == {"files": {"a/b": compiled_folder._digest("text")}}
