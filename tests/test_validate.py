"""Errors of the language in its own words."""

import inspect
import re
from typing import get_args

import pytest

from llmrecipe import facts
from llmrecipe.diagnostics import RecipeError
from llmrecipe.lower.arguments import arguments
from llmrecipe.methods import METHODS
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.serving import VLLM
from llmrecipe.resolve import resolve
from llmrecipe.source import parse
from llmrecipe.stages import train
from llmrecipe.validate import check, validate
from llmrecipe.validate.checks import _OWNED, _OWNED_BY, _RUNNERS, _SERVERS
from llmrecipe.validate.errors import PATTERNS
from llmrecipe.validate.foreign import KEYS, KINDS, VALUES
from llmrecipe.validate.language import field_types, owners

BASE = {
    "version": "version: 1",
    "name": "name: style",
    "model": "model: {base: Qwen/Qwen3-0.6B}",
    "data": "data: {train: [{kind: files, paths: [chat.jsonl], format: messages}]}",
    "method": "method: {kind: sft}",
}


def recipe(text):
    """A whole recipe of which `text` is a part."""
    given = re.findall(r"^(\w+):", text, re.MULTILINE)
    return "\n".join([text, *(line for key, line in BASE.items() if key not in given)])


def found(text):
    return check(parse(recipe(text), "recipe.yaml"))[1]


def only(text):
    (problem,) = found(text)
    return problem


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("training: {batch_size: 4}", "`batch_size` is not a key of `training`", "`per_device_train_batch_size`?"),
        ("training: {lr: 1e-4}", "`lr` is not a key of `training`", "did you mean `learning_rate`?"),
        ("training: {epochs: 3}", "`epochs` is not a key", "did you mean `num_train_epochs`?"),
        ("training: {max_seq_length: 3}", "`max_seq_length` is not a key", "did you mean `max_length`?"),
        ("training: {lerning_rate: 1e-4}", "`lerning_rate` is not a key", "did you mean `learning_rate`?"),
        ("training: {warmup_ratio: 0.1}", "`warmup_ratio` is not a key", "belongs to `training.schedule`"),
        ("training: {gradient_accumulation_steps: 4}", "is not a key", "`training.global_batch_size`"),
        ("training: {eval_strategy: steps}", "is not a key", "`training.eval_steps`"),
        ("training: {paths: [a]}", "is not a key", "`data.train[]`"),
        ("learning_rate: 1e-4", "`learning_rate` is not a key of a recipe", "belongs to `training`"),
        ("torch_dtype: bfloat16", "`torch_dtype` is not a key of a recipe", "write `model.dtype`"),
        ("METADATA: {}", "`METADATA` is not a key of a recipe", "did you mean `metadata`?"),
        ("training: {serving: {}}", "`serving` is not a key of `training`", "top of the recipe"),
        ("model: {base: x, torch_dtype: auto}", "is not a key of `model`", "did you mean `dtype`?"),
        ("model: {base: x, adapter: {kind: full, r: 8}}", "of kind `full`", "`lora` and `dora` have it"),
        ("method: {kind: sft, beta: 0.1}", "is not a key of `method` of kind `sft`", "`dpo`, `kto`, `orpo`"),
        ("distributed: {kind: ddp, x: 1}", "of kind `ddp`", "remove it"),
        ("export: {nothing-like-it: 1}", "is not a key of `export`", "its keys: `merge`, `formats`"),
        ("method: {kind: stf}", "`stf` is not a kind of `method`", "did you mean `sft`?"),
        ("method: {kind: clm}", "`clm` is not a kind of `method`", "did you mean `pretrain`?"),
        ("model: {base: x, adapter: {r: 8}}", "`model.adapter` needs `kind`", "`lora` or `dora`"),
        ("data: {train: [{kind: files, paths: [a]}]}", "`data.train[0]` needs `format`", "one of `text`, `messages`"),
        ("model: {}", "`model` needs `base`", "add `base: ...`: a Hub id, a path"),
        ("model: {base: {}}", "`model.base` needs `architecture`", "{family: ..., hidden_size: ..."),
        (
            'training: {max_length: "1024"}',
            '`training.max_length` must be a whole number, not the string "1024"',
            "1024`",
        ),
        ('training: {learning_rate: "2e-5"}', "must be a number", "write `2e-5` without quotes"),
        ("training: {max_steps: 1e3}", "must be a whole number, not the number 1000.0", "write `1000`"),
        ("training: {max_steps: 1.5}", "must be a whole number", "write a whole number"),
        ("training: {gradient_checkpointing: yes}", "must be `true` or `false`", "write `true`"),
        ('export: {merge: "false"}', "must be `true` or `false`", "write `false` without quotes"),
        ("training: {gradient_checkpointing: maybe}", "must be `true` or `false`", "write `true` or `false`"),
        ("name: 7", "`name` must be a string, not the number 7", '`"7"`'),
        ("training:", "`training` is empty; it must be a mapping", "remove `training`"),
        ("model:", "`model` is empty; it must be a mapping", "write `model: {base: ...}`"),
        ("model: x/y", 'must be a mapping, not the string "x/y"', "write `model: {base: x/y}`"),
        ("method: sft", "`method` must be a mapping", "write `method: {kind: sft}`"),
        ("training: {schedule: wsd}", "must be a mapping", "write `schedule: {kind: warmup_stable_decay}`"),
        ("export: {formats: [safetensors]}", "`export.formats[0]` must be", "write `- {kind: safetensors}`"),
        ("data: {train: {kind: hub}}", "`data.train` must be a list, not a mapping", "begin each item with `- `"),
        ("model: {base: 5}", "must be a Hub id, a path, `{recipe: NAME}` or `{architecture: {...}}`", '`"5"`'),
        ("model: {base: x, dtype: fp16}", "`model.dtype` cannot be `fp16`", "did you mean `float16`?"),
        ("model: {base: x, dtype: {}}", "`model.dtype` must be `auto`, `float32`", "write `auto`"),
        ("data: {train: [{kind: hub, dataset: a/b, format: text}], packing: true}", "be `true`", "did you mean `bfd`?"),
        ("version: 2", "`version` cannot be `2`", "write `1`"),
        ('version: "1"', "`version` must be `1`", "write `1` without quotes"),
        ("training: {learning_rate: 5}", "is 5; it must be greater than 0 and less than 1", "greater than 0 and less"),
        ("training: {seed: 5000000000}", "must be at least 0 and less than 4294967296", "whole number"),
        ("training: {max_steps: .inf}", "must be a finite number", "write a number"),
        ("metadata: {x: [.nan]}", "`metadata.x[0]` is nan; it must be a finite number", "write a number"),
        ("data: {train: []}", "`data.train` has no items; it must have at least 1", "write a value"),
        ('model: {base: ""}', "`model.base` has no characters", "write a value"),
        ("name: My Model!", "it must be lower-case letters, digits and hyphens", "write `my-model`"),
        ("serving: {kind: vllm, api_key: abc}", "must name an environment variable", "`${env:API_KEY}`"),
        ("hardware: {memory: 64GB}", "Mi, Gi or Ti", "`64Gi`"),
        ("data:", "`method` needs `data` beside it", "add `data: {train: [...]}`"),
        ("method:", "`data` needs `method` beside it", "add `method: {kind: ...}`"),
        ("training: {extra: {learning_rate: 1}}", "has a key of its own", "write `training.learning_rate` instead"),
        (
            "training: {extra: {save_steps: 1}}",
            "has a key of its own",
            "write `training.checkpoints.save_steps` instead",
        ),
        ("training: {extra: {loss_type: nll}}", "has a key of its own", "write `method.loss_type` instead"),
        ("training: {extra: {report_to: none}}", "the run decides it", "remove it"),
        (
            "training: {extra: {full_determinizm: true}}",
            "is not an option of `SFTConfig`",
            "did you mean `full_determinism`?",
        ),
        ('training: {extra: {full_determinism: "x"}}', "must be `true` or `false`", "write `true` or `false`"),
        ("training: {extra: {eval_delay: soon}}", "must be a number", "write a number"),
        ("serving: {kind: vllm, extra: {--enforce-eager: true}}", "not an option of `vllm serve`", "`enforce_eager`?"),
        ("serving: {kind: vllm, extra: {seed: x}}", "must be a whole number", "write a whole number"),
    ],
)
def test_the_message_says_what_is_so_and_the_help_what_to_do(text, message, hint):
    problem = only(text)
    assert message in problem.message
    assert hint in str(problem.help)


def test_a_secret_is_not_repeated():
    problem = only("serving: {kind: vllm, api_key: sk-123456}")
    assert "sk-123456" not in problem.message + str(problem.help)


def test_two_types_that_were_tried_give_one_error():
    assert len(found("model: {base: x, dtype: fp16, adapter: {kind: lora, target_modules: 5}}")) == 2
    problem = only("model: {base: x, adapter: {kind: lora, target_modules: [q_proj, 5]}}")
    assert problem.message.startswith("`model.adapter.target_modules[1]` must be a string")


def test_errors_come_in_the_order_of_the_lines():
    lines = [problem.span.line for problem in found("training:\n  x: 1\n  seed: a\n  max_steps: 0\nname: A\nzzz: 1")]
    assert lines == sorted(lines)
    assert len(lines) == 5


def test_all_documents_are_checked_before_anything_is_raised():
    text = recipe("method: {kind: stf}") + "\n---\n" + recipe("name: other\ntraining: {sede: 1}")
    with pytest.raises(RecipeError) as caught:
        validate(parse(text, "recipe.yaml"))
    assert [problem.code for problem in caught.value.diagnostics] == ["LR004", "LR003"]


def test_a_recipe_without_errors_becomes_a_document():
    (document,) = validate(parse(recipe("training: {learning_rate: 2e-5}"), "recipe.yaml"))
    assert isinstance(document.recipe, Recipe)
    assert document.recipe.training.learning_rate == 2e-5
    assert document.source.at(("training", "learning_rate")).column == 27


def test_an_option_of_one_kind_does_not_pass_as_one_of_another_through_extends(tmp_path):
    (tmp_path / "base.yaml").write_text(recipe("model: {base: x, adapter: {kind: lora, r: 4}}"))
    (tmp_path / "recipe.yaml").write_text("extends: [base.yaml]\nmodel: {adapter: {kind: full}}\n")
    (document,) = validate(resolve(str(tmp_path / "recipe.yaml")))
    assert document.recipe.model.adapter.model_dump() == {"kind": "full"}


# -- tables --


def _exists(path):
    home, _, key = path.rpartition(".")
    return home in owners().get(key, [])


@pytest.mark.parametrize("path", sorted({path for path in KEYS.values() if " " not in path}))
def test_every_key_that_is_suggested_exists(path):
    assert _exists(path)


def test_every_path_in_a_suggested_sentence_exists():
    named = {path for text in KEYS.values() if " " in text for path in re.findall(r"`([a-z_]+\.[a-z_.]+)`", text)}
    assert named
    assert all(_exists(path) for path in named)


def test_no_foreign_name_is_a_key_of_the_section_that_it_stands_for():
    for name, path in KEYS.items():
        home = path.rpartition(".")[0]
        assert " " in path or home not in owners().get(name, []), name


def _sections():
    seen, waiting = set(), [Recipe]
    while waiting:
        section = waiting.pop()
        if section in seen:
            continue
        seen.add(section)
        for name in section.model_fields:
            inner = list(field_types(section, name))
            while inner:
                one = inner.pop()
                if one.section:
                    waiting.append(one.section)
                else:
                    inner += [type(one)(arg) for arg in get_args(one.type) if hasattr(arg, "__mro__") or get_args(arg)]
    return seen


def test_every_kind_and_value_that_is_suggested_exists():
    kinds, values = set(), set()
    for section in _sections():
        for name in section.model_fields:
            for one in field_types(section, name):
                (kinds if name == "kind" else values).update(one.choices)
    assert set(VALUES.values()) <= values
    assert set(KINDS.values()) <= kinds


def test_every_pattern_of_the_language_is_explained():
    text = str(Recipe.model_json_schema())
    patterns = {pattern.replace("\\\\", "\\") for pattern in re.findall(r"'pattern': '([^']+)'", text)}
    assert patterns == set(PATTERNS)
    for pattern, (_, example) in PATTERNS.items():
        assert re.fullmatch(pattern, example)


def test_every_owned_option_is_one_of_a_trainer_and_names_a_key():
    fields = {name for method in METHODS for name in facts.trainer_fields(method.config)}
    gone = {"warmup_ratio", "overwrite_output_dir", "logging_dir"}  # of earlier releases
    assert ({*_OWNED, *_RUNNERS} - fields) <= gone
    assert all(_exists(path) for path in _OWNED.values())
    assert set(_SERVERS) - {"model_tag"} <= set(facts.vllm_options())


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in _OWNED_BY.items() for name in names])
def test_an_option_that_one_method_has_a_key_for_cannot_be_written_in_extra(kind, name):
    method = next(each for each in METHODS if get_args(each.model_fields["kind"].annotation)[0] == kind)
    assert name in facts.trainer_fields(method.config)
    assert _exists(_OWNED_BY[kind][name])
    rows = {"distillation": "messages"}.get(kind, "prompt" if kind in ("grpo", "rloo", "ppo") else "preference")
    more = ", teacher_model: owner/teacher" if kind == "distillation" else ""
    data = BASE["data"].replace("messages", rows)
    problems = found(f"method: {{kind: {kind}{more}}}\n{data}\ntraining: {{extra: {{{name}: 1}}}}")
    assert [problem.code for problem in problems] == ["LR019"]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_what_lowering_writes_cannot_be_written_in_extra(method):
    kind = get_args(method.model_fields["kind"].annotation)[0]
    rows = {"pretrain": "text", "sft": "messages"}.get(kind, "preference")
    data = BASE["data"].replace("messages", rows)
    kind += ", teacher_model: owner/teacher" if kind == "distillation" else ""
    training = "training: {eval_steps: 5, schedule: {kind: cosine, min_lr_ratio: 0.1}}"
    (document,) = validate(parse(recipe(f"method: {{kind: {kind}}}\n{data}\n{training}"), "recipe.yaml"))
    written = arguments(document.recipe, document.recipe.method, 1, lambda *_: None)
    for name in written:
        problems = found(f"method: {{kind: {kind}}}\n{data}\ntraining: {{extra: {{{name}: 1}}}}")
        assert [problem.code for problem in problems] == ["LR019"], name


def test_what_the_training_stage_sets_cannot_be_written_in_extra():
    ours = set(re.findall(r'^        "(\w+)":', inspect.getsource(train._arguments), re.MULTILINE)) - {"max_length"}
    assert ours
    for name in ours:
        assert [problem.code for problem in found(f"training: {{extra: {{{name}: 1}}}}")] == ["LR019"], name


def test_every_key_of_the_server_is_owned():
    for name in set(VLLM.model_fields) & set(facts.vllm_options()):
        assert only(f"serving: {{kind: vllm, extra: {{{name}: 1}}}}").code == "LR019"
