"""`validate --fix`: what it changes, what it leaves alone, and that nothing gets worse."""

import json
import stat
import subprocess
from pathlib import Path

import pytest

from llmrecipe.cli import main
from llmrecipe.cli.fixing import difference, fixed, write

HEAD = "version: 1\nname: style\nmodel: {base: ./base}\n"
DATA = "data: {train: [{kind: files, paths: [rows.jsonl], format: messages}]}\nmethod: {kind: sft}\n"
GOOD = HEAD + DATA


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with data and a base model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"messages": []}\n')
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    return tmp_path


def fix(text: str, *more: str) -> str:
    """A recipe after `--fix`."""
    Path("recipe.yaml").write_text(text)
    main(["validate", "recipe.yaml", "--fix", "--format", "concise", *more])
    return Path("recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("training: {max_lenght: 5}", "training: {max_length: 5}"),
        ("training:\n  lr: 2e-5  # as in the paper", "training:\n  learning_rate: 2e-5  # as in the paper"),
        ("training: {gradient_checkpointing: yes}", "training: {gradient_checkpointing: true}"),
        ("training: {group_by_length: no}", "training: {group_by_length: false}"),
        ("export: {merge: no, license: mit}", "export: {license: mit}"),
        ('training: {learning_rate: "2e-5"}', "training: {learning_rate: 2e-5}"),
        ("training: {max_steps: 300.0}", "training: {max_steps: 300}"),
        ("training: {optimizer: adamw}", "training: {optimizer: {kind: adamw}}"),
        ("training: {optimizer: {kind: adamv}}", "training: {optimizer: {kind: adamw}}"),
        ("export: {description: 5}", 'export: {description: "5"}'),
        ("hardware: {accelerator: h100-80g}", "hardware: {accelerator: h100-80gb}"),
        ("training:\n  extra: {output_dir: out}\n  seed: 1", "training:\n  seed: 1"),
        ("training: {extra: {tf32: true, debug: []}}", "training: {extra: {debug: []}, tf32: true}"),
        ("training: {extra: {dataloader_drop_lats: true}}", "training: {extra: {dataloader_drop_last: true}}"),
        ("training: {max_steps: 5}  # llmrecipe: ignore[LR311]", "training: {max_steps: 5}"),
        ("lint:\n  ignore:\n    - LR311\ntracking: {}", "tracking: {}"),
        (
            "training: {max_steps: 5, num_train_epochs: 1}  # llmrecipe: ignore[two-lengths-of-trainings]",
            "training: {max_steps: 5, num_train_epochs: 1}  # llmrecipe: ignore[two-lengths-of-training]",
        ),
        (
            "training:\n  watchdog:\n    hang:\n      action: off  # quiet\n      minutes: 30\n  seed: 1",
            "training:\n  watchdog:\n    hang:\n      action: off  # quiet\n  seed: 1",
        ),
        (
            "training: {watchdog: {hang: {action: off, minutes: 30}}, seed: 1}",
            "training: {watchdog: {hang: {action: off}}, seed: 1}",
        ),
        (
            "evaluation:\n  suites: [{kind: perplexity}]\n  gates:\n    - {metric: perplexity/perplexty, max: 9}",
            "evaluation:\n  suites: [{kind: perplexity}]\n  gates:\n    - {metric: perplexity/perplexity, max: 9}",
        ),
    ],
)
def test_what_can_only_be_meant_in_one_way_is_mended(wrong: str, right: str) -> None:
    if "perplexity" in wrong:
        assert fix(GOOD.replace("}]}\n", "}], validation: {fraction: 0.1}}\n", 1) + wrong).endswith(right)
    else:
        assert fix(f"{GOOD}{wrong}\n") == f"{GOOD}{right.rstrip()}\n"


@pytest.mark.parametrize(
    "left",
    [
        "training: {max_steps: 5, num_train_epochs: 1}",  # which one?
        "training: {optimizer: {kind: adam}}",  # not quite AdamW
        "training: {learning_rate: 5}",
        "training:",
        "training: {max_length: 1024, max_lenght: 512}",  # there is one already
        "export: {description: 1.10}",  # a text with or without the zero
        "name: other",
        "training: &a {max_lenght: 5}\nmetadata: {again: *a}",  # an alias repeats it
    ],
)
def test_what_could_mean_several_things_is_left_and_reported(left: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fix(f"{GOOD}{left}\n") == f"{GOOD}{left}\n"
    assert "error[" in capsys.readouterr().out


def test_one_call_mends_what_only_shows_when_something_else_is_mended() -> None:
    text = (
        GOOD.replace("version: 1", 'version: "1"') + "training:\n  batch_size: '4'\n  watchdgo: {hang: {minuts: 3}}\n"
    )
    assert fix(text) == GOOD + "training:\n  per_device_train_batch_size: 4\n  watchdog: {hang: {minutes: 3}}\n"


def test_a_mistake_in_a_shared_file_is_mended_there(folder: Path) -> None:
    (folder / "base.yaml").write_text("# shared\ntraining:\n  max_lenght: 5  # tokens\n")
    text = "extends: base.yaml\n" + GOOD
    assert fix(text) == text.replace("base.yaml", "[base.yaml]", 1)
    assert (folder / "base.yaml").read_text() == "# shared\ntraining:\n  max_length: 5  # tokens\n"


def test_an_entry_without_effect_stays_in_a_shared_file_where_another_recipe_reads_it(folder: Path) -> None:
    shared = "training: {watchdog: {dead_preference: {action: warn}}, seed: 1}\n"
    (folder / "base.yaml").write_text(shared)
    (folder / "sft.yaml").write_text("extends: [base.yaml]\n" + GOOD)
    dpo = GOOD.replace("format: messages", "format: preference").replace("{kind: sft}", "{kind: dpo}")
    (folder / "other.yaml").write_text("extends: [base.yaml]\n" + dpo.replace("name: style", "name: other"))
    main(["validate", "sft.yaml", "other.yaml", "--fix"])
    assert (folder / "base.yaml").read_text() == shared
    main(["validate", "sft.yaml", "--fix"])
    assert (folder / "base.yaml").read_text() != shared


def test_documents_of_one_file_are_mended_together() -> None:
    two = "model: {base: {recipe: style}}\ntraining: {seed: '3'}\n"
    text = f"{GOOD}training: {{seed: '1'}}\n---\nversion: 1\nname: second\n{two}"
    assert fix(text) == text.replace("'1'", "1").replace("'3'", "3")


def test_line_ends_byte_order_mark_mode_and_links_stay(folder: Path) -> None:
    real, link = folder / "real.yaml", folder / "recipe.yaml"
    real.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}training: {{max_lenght: 5}} # ü\n".replace("\n", "\r\n").encode())
    real.chmod(0o640)
    link.symlink_to(real)
    main(["validate", "recipe.yaml", "--fix"])
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    expected = f"{GOOD}training: {{max_length: 5}} # ü\n".replace("\n", "\r\n").encode()
    assert real.read_bytes() == b"\xef\xbb\xbf" + expected


def test_a_file_that_was_changed_meanwhile_is_not_written(folder: Path) -> None:
    Path("recipe.yaml").write_text(f"{GOOD}training: {{max_lenght: 5}}\n")
    state = fixed(["recipe.yaml"])
    Path("recipe.yaml").write_text("something else\n")
    with pytest.raises(OSError, match="changed meanwhile"):
        write(state)
    assert Path("recipe.yaml").read_text() == "something else\n"
    assert sorted(path.name for path in folder.iterdir()) == ["base", "recipe.yaml", "rows.jsonl"]


def test_a_file_that_cannot_be_read_is_left_alone(folder: Path) -> None:
    text = f"{GOOD}training: {{max_lenght: 5\n"
    assert fix(text) == text


def test_the_command_says_what_it_did_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.yaml").write_text(f"{GOOD}training: {{max_lenght: 5, max_steps: 5, num_train_epochs: 1}}\n")
    assert main(["validate", "recipe.yaml", "--fix"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fixed recipe.yaml:6: `training.max_lenght` is now `max_length` (LR003)"
    assert lines[-1] == "1 file: 1 error; 1 fixed"
    assert main(["validate", "recipe.yaml", "--fix"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 file: 1 error"


def test_json_says_what_was_fixed(capsys: pytest.CaptureFixture[str]) -> None:
    fix(f"{GOOD}training: {{max_lenght: 5}}\n", "--format", "json")
    report = json.loads(capsys.readouterr().out)
    assert report["errors"] == 0
    assert [(one["code"], one["line"], one["fix"]) for one in report["fixed"]] == [
        ("LR003", 6, "`training.max_lenght` is now `max_length`")
    ]


def test_a_difference_is_shown_and_applies_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{GOOD}training: {{max_lenght: 5}}\n"
    Path("recipe.yaml").write_text(text)
    assert main(["validate", "recipe.yaml", "--diff"]) == 1
    shown = capsys.readouterr().out
    assert Path("recipe.yaml").read_text() == text
    subprocess.run(["git", "apply", "-"], input=shown, text=True, cwd=folder, check=True)
    assert Path("recipe.yaml").read_text() == text.replace("lenght", "length")
    assert main(["validate", "recipe.yaml", "--diff"]) == 0
    assert difference(fixed(["recipe.yaml"])) == ""


@pytest.mark.parametrize("option", ["--fix", "--diff"])
def test_values_of_the_command_line_are_in_no_file(option: str) -> None:
    Path("recipe.yaml").write_text(GOOD)
    assert main(["validate", "recipe.yaml", option, "--set", "training.seed=x"]) == 2
