"""Every rule by its own two examples; what lint does around rules; and that no valid recipe makes a rule raise."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import llmrecipe
from llmrecipe.cli.fixing import fixed
from llmrecipe.document import Document
from llmrecipe.lint import RULES, lint
from llmrecipe.lint.evaluation import METRICS
from llmrecipe.methods import METHODS
from llmrecipe.recipe import Recipe
from llmrecipe.resolve import resolve
from llmrecipe.source import Source, Span

SECTIONS = ["## What it does", "## Why is this bad?", "## Example", "## Use instead"]
BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


TEXTS = {
    "chats.jsonl": '{"messages": []}\n',
    "askers.jsonl": '{"messages": [{"role": "user", "content": "Which of these two words is longer?"}]}\n',
    "sharegpt.jsonl": '{"conversations": []}\n',
    "pairs.jsonl": '{"prompt": "", "chosen": "", "rejected": ""}\n',
    "answers.jsonl": '{"prompt": "", "completion": "", "label": true}\n',
    "problems.jsonl": '{"prompt": "", "reference": ""}\n',
    "rewards.py": "def score(prompts, completions, **columns): ...\n",
    "questions.jsonl": '{"prompt": "", "completion": ""}\n',
    "held.jsonl": '{"prompt": "", "chosen": "", "rejected": "", "reference": ""}\n',
    "corpus.txt": "text\n",
    "book.txt": "text\n" * 2000,
    "corpus.md": "text\n",
    "empty.jsonl": "",
    "plain.jinja": "{% for m in messages %}{{ m.role + m.content + eos_token }}{% endfor %}",
    "turns.jinja": "{{ bos_token }}{% for m in messages %}{{ m.role + m.content + eos_token }}{% endfor %}",
    "base/config.json": "{}",
    "albert/config.json": '{"model_type": "albert"}',
    "adapter/adapter_config.json": "{}",
}
"""What lies beside the examples of the manual pages."""


def write_texts(folder: Path) -> None:
    """The files that the examples read."""
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder in which the examples of the manual pages live."""
    write_texts(tmp_path)
    return tmp_path


def documents(folder: Path, text: str, *, locked: bool = True) -> list[Document]:
    """The documents of a recipe that lies in the folder, beside a lock."""
    (folder / "recipe.yaml").write_text(text)
    if locked:
        (folder / "recipe.yaml.lock").write_text("{}")
    return [Document(Recipe.model_validate(source.data), source) for source in resolve(str(folder / "recipe.yaml"), [])]


SIZES = {"LR420", "LR421", "LR422", "LR423", "LR424", "LR425"}
"""Whether a recipe fits its machine. The pages of other rules are short, and not about that."""


def codes(folder: Path, text: str, *, locked: bool = True, sizes: bool = False) -> set[str]:
    found = {diagnostic.code for diagnostic in lint(documents(folder, text, locked=locked))}
    return found if sizes else found - SIZES


@pytest.mark.parametrize("code", sorted(RULES))
def test_the_example_of_a_rule_breaks_it_alone_and_the_mended_one_breaks_none(code: str, folder: Path) -> None:
    broken, mended = BLOCK.findall(RULES[code].page)
    locked = code != "LR701"
    assert codes(folder, broken, locked=locked, sizes=code in SIZES) == {code}
    assert codes(folder, mended, locked=locked, sizes=code in SIZES) == set()


FIXABLE = ["LR801", "LR802", "LR804", "LR808", "LR809", "LR850", "LR861", "LR862"]
"""Rules whose own example has a safe fix; that of others may have one too."""


@pytest.mark.parametrize("code", sorted(RULES))
def test_a_safe_fix_of_a_rule_mends_its_example(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    broken = BLOCK.findall(RULES[code].page)[0]
    found = lint(documents(folder, broken, locked=code != "LR701"))
    safe = [one for one in found if one.fix is not None and one.fix.safe]
    assert safe or code not in FIXABLE
    if len(safe) == len(found):
        state = fixed(["recipe.yaml"])
        assert [one.code for verdict in state.verdicts.values() for one in verdict.findings] == []
        assert {one.code for one in state.done} >= {code}


@pytest.mark.parametrize("code", sorted(RULES))
def test_the_manual_page_of_a_rule_has_its_four_sections(code: str) -> None:
    assert re.findall(r"^## .*$", RULES[code].page, re.MULTILINE) == SECTIONS
    assert re.fullmatch(r"LR[1-8]\d\d", code)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", RULES[code].name)


def test_rule_names_are_unique() -> None:
    names = [rule.name for rule in RULES.values()]
    assert len(names) == len(set(names))


SCRATCH = """\
version: 1
name: tiny
model:
  base:
    architecture:
      family: {family}
      hidden_size: 64
      num_hidden_layers: 2
      num_attention_heads: 4{more}
tokenizer: {{kind: train, vocab_size: 1000}}
data: {{train: [{{kind: files, paths: [corpus.txt], format: text}}]}}
method: {{kind: pretrain}}
training: {training}
"""

TUNE = """\
version: 1
name: style
model: {model}
data: {{train: [{{kind: files, paths: [chats.jsonl], format: messages}}]}}
method: {{kind: sft}}
training: {training}
hardware: {hardware}
"""


def scratch(family: str = "qwen3", more: str = "", training: str = "{}") -> str:
    return SCRATCH.format(
        family=family, more="".join(f"\n      {line}" for line in more.splitlines()), training=training
    )


def tune(model: str = "{base: Qwen/Qwen3-0.6B}", training: str = "{}", hardware: str = "{}") -> str:
    return TUNE.format(model=model, training=training, hardware=hardware)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (scratch("gpt2", "rope_theta: 1e4"), {"LR208"}),
        (scratch("falcon", "head_dim: 32"), {"LR208"}),
        (scratch("falcon", "num_key_value_heads: 2"), set()),
        (scratch("llama", "head_dim: 24"), set()),
        (scratch("qwen3", "head_dim: 15"), {"LR209"}),
        (scratch("gpt2", training="{max_length: 64}"), set()),
        (scratch(more="max_position_embeddings: 32", training="{max_length: 64}"), {"LR210"}),
        (scratch(training="{learning_rate: 3e-3, max_steps: 10}"), set()),
        (scratch(training="{learning_rate: 0.5, max_steps: 10}"), {"LR314"}),
        (scratch(training="{learning_rate: 0.5, optimizer: {kind: sgd}}"), set()),
        (scratch(training="{learning_rate: 0.02, optimizer: {kind: muon, adjust_lr_fn: original}}"), set()),
        (tune(training="{learning_rate: 2e-5}"), set()),
        (tune(training="{learning_rate: 1e-3}"), {"LR314"}),
        (tune("{base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}", "{learning_rate: 1e-3}"), set()),
        (tune("{base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}", "{learning_rate: 1e-7}"), {"LR314"}),
        (tune("{base: Qwen/Qwen3-0.6B, dtype: bfloat16}", "{learning_rate: 1e-4}"), set()),
        (tune("{base: Qwen/Qwen3-0.6B, dtype: bfloat16}"), {"LR315"}),
        (tune("{base: Qwen/Qwen3-0.6B, adapter: {kind: lora}, dtype: bfloat16}"), set()),
        (tune("{base: Qwen/Qwen3-0.6B, attention: flash_attention_3}", hardware="{accelerator: a100-80gb}"), {"LR211"}),
        (tune("{base: Qwen/Qwen3-0.6B, attention: flash_attention_2}", hardware="{accelerator: v100-16gb}"), {"LR211"}),
        (tune(training="{global_batch_size: 4}"), {"LR405"}),
        (tune(training="{max_steps: 10, schedule: {kind: cosine, warmup_ratio: 0.99}}"), {"LR313"}),
        (tune(training="{max_steps: 10, schedule: {kind: linear, warmup_steps: 6}}"), {"LR313"}),
        (tune(training="{max_steps: 10, schedule: {kind: warmup_stable_decay, decay_steps: 10}}"), set()),
        (tune(training="{max_steps: 9, schedule: {kind: warmup_stable_decay, decay_steps: 10}}"), {"LR313"}),
        (tune(hardware="{accelerator: quantum}"), {"LR401"}),
    ],
)
def test_rules_at_their_edges(text: str, found: set[str], folder: Path) -> None:
    assert codes(folder, text) == found


def test_a_learning_rate_far_outside_is_an_error_and_a_little_outside_a_warning(folder: Path) -> None:
    severities = {
        rate: [d.severity for d in lint(documents(folder, tune(training=f"{{learning_rate: {rate}}}")))]
        for rate in ("5e-4", "5e-2")
    }
    assert severities == {"5e-4": ["warning"], "5e-2": ["error"]}


def test_figures_reach_through_references(folder: Path) -> None:
    text = scratch() + "---\n" + tune("{base: {recipe: tiny}}", "{max_length: 4096}")
    found = lint(documents(folder, text))
    assert [(d.code, text.splitlines()[d.span.line - 1]) for d in found] == [("LR210", "training: {max_length: 4096}")]


def test_findings_come_in_the_order_of_the_lines_and_point_at_the_value(folder: Path) -> None:
    text = tune(training="{max_steps: 5, num_train_epochs: 1}").replace("chats.jsonl", "chat.jsonl")
    found = lint(documents(folder, text))
    assert [d.code for d in found] == ["LR101", "LR311"]
    line = text.splitlines()[found[0].span.line - 1]
    assert line[found[0].span.column - 1 : found[0].span.end_column - 1] == "chat.jsonl"
    assert found[0].help == "did you mean `chats.jsonl`?"


def test_a_comment_silences_its_code_on_its_line_only(folder: Path) -> None:
    text = tune(training="{max_steps: 5, num_train_epochs: 1}")
    silenced = text.replace("epochs: 1}", "epochs: 1}  # llmrecipe: ignore[LR311]")
    assert codes(folder, text) == {"LR311"}
    assert codes(folder, silenced) == set()
    unused = {"LR311", "LR850"}
    assert codes(folder, text.replace("epochs: 1}", "epochs: 1}  # llmrecipe: ignore[LR312]")) == unused
    assert codes(folder, text.replace("name: style", "name: style  # llmrecipe: ignore[LR311]")) == unused


TWO_LENGTHS = tune(training="{max_steps: 5, num_train_epochs: 1}")


@pytest.mark.parametrize(
    ("comment", "found"),
    [
        ("ignore[LR311]", set()),
        ("ignore[two-lengths-of-training]", set()),
        ("ignore[LR311, LR312]", {"LR850"}),
        ("ignore[LR3111]", {"LR311", "LR851"}),
        ("ignore[LR150]", {"LR311"}),  # of another command
        ("ignore[rows-that-vanish, weights-that-do-not-move]", {"LR311"}),
        ("ignore[LR199]", {"LR311", "LR851"}),
        ("ignore[rows-that-vanished]", {"LR311", "LR851"}),
        ("ignore[LR003]", {"LR311", "LR853"}),
        ("ignore[LR311, LR850]", {"LR853"}),
        ("ignore[]", {"LR311", "LR852"}),
        ("ignore LR311", {"LR311", "LR852"}),
        ("ignore[LR311] since it must be so", {"LR311", "LR852"}),
        ("ignore[LR311]  # since it must be so", set()),
        ("off", {"LR311", "LR852"}),
    ],
)
def test_what_a_comment_silences_and_what_is_wrong_with_it(comment: str, found: set[str], folder: Path) -> None:
    text = TWO_LENGTHS.replace("epochs: 1}", f"epochs: 1}}  # llmrecipe: {comment}")
    assert codes(folder, text) == found


@pytest.mark.parametrize(
    ("ignored", "found"),
    [
        ("[LR311]", set()),
        ("[two-lengths-of-training]", set()),
        ("[LR312]", {"LR311", "LR850"}),
        ("[LR311, LR311]", set()),
        ("[LR006, LR311]", {"LR853"}),
        ("[nonsense, LR311]", {"LR851"}),
        ("[LR155, rows-that-vanish, hardly-any-step]", {"LR311"}),
        ("[]", {"LR311"}),
    ],
)
def test_what_a_recipe_silences_and_what_is_wrong_with_it(ignored: str, found: set[str], folder: Path) -> None:
    assert codes(folder, f"{TWO_LENGTHS}lint: {{ignore: {ignored}}}\n") == found


def test_a_silence_belongs_to_its_document_and_a_text_is_no_comment(folder: Path) -> None:
    quiet = TWO_LENGTHS.replace("epochs: 1}", "epochs: 1}  # llmrecipe: ignore[LR311]")
    other = tune().replace("name: style", "name: other")
    assert codes(folder, f"{quiet}---\n{other}") == set()
    assert codes(folder, f"{other}---\n{quiet}") == set()
    assert codes(folder, f'{tune()}metadata: {{note: "# llmrecipe: ignore[LR311]"}}\n') == set()
    assert codes(folder, f"# llmrecipe: ignore[LR311]\n{TWO_LENGTHS}") == {"LR311", "LR850"}


def test_a_silence_in_an_extended_file_is_used_and_never_reported_there(folder: Path) -> None:
    (folder / "shared.yaml").write_text("training: {max_steps: 5, num_train_epochs: 1}  # llmrecipe: ignore[LR311]\n")
    assert codes(folder, "extends: [shared.yaml]\n" + tune().replace("training: {}\n", "")) == set()
    assert codes(folder, "extends: [shared.yaml]\n" + tune(training="{num_train_epochs: null}")) == set()


ASKS = {"is_file", "is_dir", "exists", "stat", "iterdir", "glob", "iglob", "rglob", "read_text", "read_bytes", "open"}


def test_rules_ask_the_file_system_through_the_one_module_that_notes_it() -> None:
    found = [
        f"{file.name}:{node.lineno} {node.attr}"
        for file in (Path(llmrecipe.__file__).parent / "lint").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ASKS
        if not (isinstance(node.value, ast.Name) and node.value.id == "local")
    ]
    assert found == []


def test_without_a_lock_every_hub_artifact_without_a_revision_is_named(folder: Path) -> None:
    text = """\
version: 1
name: style
model: {base: Qwen/Qwen3-0.6B}
data: {train: [{kind: hub, dataset: owner/chats, format: messages}]}
method: {kind: sft}
"""
    found = lint(documents(folder, text, locked=False))
    assert [(d.code, d.severity, d.span.line) for d in found] == [("LR701", "warning", 3), ("LR701", "warning", 4)]


def test_the_metrics_that_gates_may_name_are_those_that_the_stage_returns() -> None:
    stages = Path(llmrecipe.__file__).parent / "stages"
    functions = {
        node.name.removeprefix("_"): node
        for file in ("evaluate", "masked_accuracy", "preference_accuracy")
        for node in ast.walk(ast.parse((stages / f"{file}.py").read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    for kind in METRICS.keys() - {"reward"}:  # Names of rewards are metrics there.
        function = functions[kind]
        returned = next(node.value for node in reversed(function.body) if isinstance(node, ast.Return))
        keys = {key.value for node in ast.walk(returned or function) if isinstance(node, ast.Dict) for key in node.keys}
        assert set(METRICS[kind]) == keys


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-0123456789abcdefghijklmnop", "AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1" * 18, "-----BEGIN PRIVATE KEY-----"],
)
def test_secrets_are_found_wherever_they_stand(secret: str, folder: Path) -> None:
    text = tune() + f"export:\n  description: the key is {json.dumps(secret)[1:-1]}, keep it\n"
    found = lint(documents(folder, text))
    assert [(d.code, d.span.line) for d in found] == [("LR703", 9)]
    assert secret not in found[0].message


@pytest.mark.parametrize(
    "path",
    ["~nobody-is-called-that/a.jsonl", "a" * 5000 + ".jsonl", "a\0b.jsonl", "s3://bucket/*.jsonl", "[", "**", "/"],
)
def test_no_path_makes_a_rule_raise(path: str, folder: Path) -> None:
    text = tune(model=json.dumps({"base": f"./{path}"}).replace("./~", "~")).replace("chats.jsonl", json.dumps(path))
    assert isinstance(codes(folder, text.replace("\\u0000", "\\0")), set)


# -- no valid recipe makes a rule raise --


def _schema() -> dict[str, object]:
    return Recipe.model_json_schema()


def _values(schema: dict, root: dict) -> st.SearchStrategy:  # type: ignore[type-arg]
    """Values of a JSON schema as pydantic makes it, edges first."""
    if "$ref" in schema:
        return st.deferred(lambda: _values(root["$defs"][schema["$ref"].rpartition("/")[2]], root))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return st.one_of([_values(member, root) for member in schema[union]])
    match schema.get("type"):
        case "object" if "properties" in schema:
            required = set(schema.get("required", ()))
            fields = {name: _values(field, root) for name, field in schema["properties"].items()}
            return st.fixed_dictionaries(
                {name: field for name, field in fields.items() if name in required},
                optional={name: field for name, field in fields.items() if name not in required},
            )
        case "object":
            return st.dictionaries(st.sampled_from(["prompt", "text", "a.b", "0"]), st.just("text"), max_size=2)
        case "array":
            items = _values(schema["items"], root)
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 2))
        case "integer":
            low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
            high = schema.get("maximum", schema.get("exclusiveMaximum", 10_001) - 1)
            return st.sampled_from([low, low + 1, min(high, low + 6), high])
        case "number":
            high = schema.get("maximum", schema.get("exclusiveMaximum", 100.0))
            low = schema.get("minimum", schema.get("exclusiveMinimum", min(0.0, high - 1)))
            return st.floats(low, high, exclude_min="exclusiveMinimum" in schema, exclude_max=True)
        case "string":
            if "pattern" in schema:
                return st.sampled_from(["a", "tiny", "a/b", "generation/f1", "5GB", "8Gi", "${env:A}"]).filter(
                    lambda text: re.search(schema["pattern"], text) is not None
                )
            return st.sampled_from(
                ["chats.jsonl", "./base", "Qwen/Qwen3-0.6B", "cpu", "t4-16gb", "chatml", "*", "text"]
            )
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return st.just("text")


def _flat_source(data: object) -> Source:
    """A source whose every path is at the same place."""
    span = Span("recipe.yaml", 1, 1, 1, 2)
    return Source("recipe.yaml", data, {}, {(): span})


def _recipes() -> Iterator[st.SearchStrategy]:  # type: ignore[type-arg]
    schema = _schema()
    properties = schema["properties"]
    assert isinstance(properties, dict)
    for method in METHODS:
        kind = method.model_fields["kind"].annotation.__args__[0]  # type: ignore[union-attr]
        yield _values({**schema, "properties": properties}, schema).map(lambda r, k=kind: {**r, "method": {"kind": k}})
    yield _values(schema, schema)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(st.one_of(list(_recipes())))
def test_no_valid_recipe_makes_a_rule_raise(data: dict) -> None:  # type: ignore[type-arg]
    try:
        recipe = Recipe.model_validate(data)
    except ValueError:
        return
    for diagnostic in lint([Document(recipe, _flat_source(data))]):
        assert diagnostic.message
        assert diagnostic.help
