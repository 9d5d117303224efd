"""`llmrecipe validate` and `llmrecipe show` as they are typed."""

import json
import subprocess
import sys

import pytest

from llmrecipe.cli import main
from llmrecipe.cli.show import written
from llmrecipe.document_errors import DOCUMENT_ERRORS
from llmrecipe.recipe import Recipe
from llmrecipe.resolve import gather, resolve
from llmrecipe.source import parse
from llmrecipe.validate import check, validate

GOOD = """\
version: 1
name: good
model: {base: ./model}
data: {train: [{kind: files, paths: [rows.txt], format: text}]}
method: {kind: pretrain}
training: {max_steps: 5}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a recipe that has no error, and one that has two."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "rows.txt").write_text("text\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "bad.yaml").write_text(GOOD.replace("good", "bad").replace("max_steps: 5", "steps: 5, seed: x"))
    return tmp_path


def errors(capsys, *words):
    code = main(["validate", *words, "--format", "json"])
    return code, [found["code"] for found in json.loads(capsys.readouterr().out)["diagnostics"]]


def test_a_clean_recipe_says_so(folder, capsys):
    assert main(["validate", "good.yaml"]) == 0
    assert capsys.readouterr().out.split("\n")[-2].startswith("1 file: ")


def test_errors_make_the_exit_code_1_and_are_counted(folder, capsys):
    assert main(["validate", "bad.yaml", "good.yaml"]) == 1
    output = capsys.readouterr().out
    assert "did you mean `max_steps`?" in output
    assert output.split("\n")[-2].startswith("2 files: 2 errors")


def test_warnings_count_with_strict_alone(folder, capsys):
    (folder / "hub.yaml").write_text(GOOD.replace("./model", "owner/name"))
    assert main(["validate", "hub.yaml"]) == 0
    assert main(["validate", "hub.yaml", "--strict"]) == 1
    assert "warning" in capsys.readouterr().out


def test_a_folder_means_the_recipes_below_it(folder, capsys):
    (folder / "deep").mkdir()
    (folder / "deep" / "more.yml").write_text(GOOD.replace("good", "more").replace("pretrain", "pretrian"))
    (folder / "deep" / "compose.yaml").write_text("version: '3'\nname: x\nservices: {}\n")
    (folder / "deep" / "base.yaml").write_text("version: 1\nmodel: {base: x}\n")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "bad.yaml").write_text(GOOD.replace("pretrain", "x"))
    main(["validate", ".", "--format", "json"])
    assert json.loads(capsys.readouterr().out)["files"] == 3


def test_a_folder_without_recipes_is_refused(folder, capsys):
    assert main(["validate", "model"]) == 2
    assert "no recipe in the folder" in capsys.readouterr().err


def test_what_is_wrong_with_files_and_with_sections_comes_together(folder, capsys):
    (folder / "two.yaml").write_text("version: 1\nname: a\nname: b\nmodel: {base: {recipe: c}}\nx: 1\n")
    assert errors(capsys, "two.yaml") == (1, ["LR010", "LR015", "LR003"])


def test_a_mistake_in_a_shared_file_is_said_once(folder, capsys):
    (folder / "base.yaml").write_text("training: {seed: x}\n")
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(f"extends: [base.yaml]\n{GOOD.replace('good', name)}")
    assert errors(capsys, "a.yaml", "b.yaml") == (1, ["LR006"])


def test_overrides_are_checked_and_shown(folder, capsys):
    assert main(["validate", "good.yaml", "--set", "training.max_steps=many"]) == 1
    assert "1 | training.max_steps=many\n  |                    ^^^^" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["good.yaml", "--set", "nonsense"],
        ["good.yaml", "bad.yaml", "--set", "training.seed=1"],
        ["good.yaml", "--set", "other:training.seed=1"],
    ],
)
def test_an_override_that_cannot_be_meant_is_a_mistake_of_usage(folder, capsys, words):
    assert main(["validate", *words]) == 2
    assert capsys.readouterr().err.startswith("llmrecipe validate: ")


def test_validating_loads_nothing_heavy(folder):
    heavy = ("torch", "transformers", "trl", "datasets", "peft", "accelerate", "pyarrow", "numpy", "rich")
    code = (
        "import sys; from llmrecipe.cli import main; code = main(['validate', 'good.yaml', 'bad.yaml']);"
        f"loaded = [name for name in {heavy!r} if name in sys.modules]; assert code == 1; assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, capture_output=True)


# -- show --

SHOWN = [
    GOOD,
    """\
version: 1
name: all
model: {base: {architecture: {family: gpt2, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 2}}}
tokenizer: {kind: train, vocab_size: 500, special_tokens: ["<a>", "#b", "- c", "d: e", "1", "", " f", "~", "\\u2028"]}
data:
  train: [{kind: hub, dataset: a/b, format: messages, columns: {messages: "weird: key"}}]
  validation: {sources: [{kind: files, paths: ["x y.jsonl", '[', "日本.txt"], format: messages}]}
  prepare: [{kind: filter, pattern: "a{2}\\n\\t#"}]
method: {kind: sft}
training: {learning_rate: 1e-9, num_train_epochs: null, extra: {debug: [], accelerator_config_: {}}}
export: {description: "two\\nlines"}
metadata: {"a b": [1, {c: [2.5, [null]]}], "": {}, d: [[], {}], 1e3: x}
""".replace("1e3: x", '"1e3": x').replace(", accelerator_config_: {}", ""),
]


@pytest.mark.parametrize("text", SHOWN)
@pytest.mark.parametrize("origins", [False, True])
def test_a_recipe_that_is_shown_reads_back_equal(text, origins):
    (document,) = validate(parse(text, "recipe.yaml"))
    (again,) = parse(written(document, origins), "shown.yaml")
    assert Recipe.model_validate(again.data) == document.recipe


def test_origins_say_where_each_value_was_written(folder, capsys):
    (folder / "top.yaml").write_text("extends: [good.yaml]\nname: top\ntraining: {seed: 3}\n")
    assert main(["show", "top.yaml", "--origins", "--set", "training.max_length=64"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.split("\n")]
    assert ["name:", "top", "#", "top.yaml:2"] in lines
    assert ["base:", "./model", "#", "good.yaml:3"] in lines
    assert ["seed:", "3", "#", "top.yaml:3"] in lines
    assert ["max_length:", "64", "#", "--set:1"] in lines
    assert ["weight_decay:", "0.0", "#", "default"] in lines


def test_show_prints_the_documents_that_were_asked_for(folder, capsys):
    (folder / "two.yaml").write_text(GOOD + "---\nversion: 1\nname: second\nmodel: {base: {recipe: good}}\n")
    main(["show", "two.yaml"])
    assert [source.data["name"] for source in parse(capsys.readouterr().out, "x")] == ["good", "second"]
    main(["show", "two.yaml#second"])
    assert [source.data["name"] for source in parse(capsys.readouterr().out, "x")] == ["second"]


def test_show_refuses_what_validate_refuses(folder, capsys):
    assert main(["show", "bad.yaml"]) == 1
    assert "LR003" in capsys.readouterr().err


# -- manual pages of document errors --


def _completed(text):
    if text.startswith(("version:", "---\nversion:")):
        return text
    lines = ["version: 1", "name: style", "model: {base: Qwen/Qwen3-0.6B}"]
    lines += ["data: {train: [{kind: files, paths: [chat.jsonl], format: messages}]}", "method: {kind: sft}"]
    return text + "\n" + "\n".join(line for line in lines if f"\n{line.partition(':')[0]}:" not in f"\n{text}") + "\n"


@pytest.mark.parametrize("error", DOCUMENT_ERRORS, ids=lambda error: error.code)
def test_the_example_of_a_page_has_the_error_and_the_mended_one_has_none(error, tmp_path):
    (tmp_path / "base.yaml").write_text("model: {dtype: auto}\n")
    path = tmp_path / "recipe.yaml"
    for text, codes in ((error.example, {error.code}), (error.instead, set())):
        path.write_text(_completed(text))
        sources, problems = gather(str(path))
        assert {one.code for one in [*problems, *check(sources)[1]]} == codes, text


def test_codes_and_names_are_unique():
    assert len({error.code for error in DOCUMENT_ERRORS}) == len({error.name for error in DOCUMENT_ERRORS})
    assert resolve.__doc__
