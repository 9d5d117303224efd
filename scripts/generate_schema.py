"""The language and the plan -> JSON schemas that editors complete and explain with."""

import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from llmrecipe import facts
from llmrecipe.lint import RULES
from llmrecipe.methods import METHODS
from llmrecipe.plan import Plan
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.serving import VLLM
from llmrecipe.source import parse

Schema = dict[str, Any]

EXTENDS: Schema = {
    "description": "Files that this document is merged over, from left to right; `FILE#NAME` takes one document of"
    " several. Mappings merge, lists and values are replaced, and a section whose `kind` changes is replaced whole.",
    "type": "array",
    "items": {"type": "string", "minLength": 1},
    "minItems": 1,
    "examples": [["base.yaml"]],
}

MORE_EXAMPLES = """
version: 1
name: everything
model:
  base: {recipe: "first.yaml#first"}
  adapter: {kind: dora, r: 32, lora_alpha: 64}
tokenizer: {kind: reuse, chat_template: chatml}
data:
  train: [{kind: hub, dataset: owner/name, revision: main, format: messages}]
  validation: {sources: [{kind: files, paths: [held-out.jsonl], format: messages}]}
  prepare: [{kind: normalize, unicode: NFC}, {kind: deduplicate}]
method: {kind: sft}
training:
  learning_rate: 2e-4
  schedule: {kind: linear, warmup_ratio: 0.03}
  optimizer: {kind: muon, momentum: 0.95}
  checkpoints: {save_steps: 200, save_total_limit: 2}
export:
  formats: [{kind: safetensors, dtype: bfloat16}]
  license: apache-2.0
serving: {kind: transformers, port: 8000}
---
version: 1
name: more
model: {base: ./base}
training:
  schedule: {kind: constant, warmup_steps: 100}
  optimizer: {kind: adamw, beta2: 0.95}
distributed: {kind: single}
serving: {kind: vllm, replicas: {min: 2}}
---
version: 1
name: most
model: {base: ./base, adapter: {kind: full}}
training:
  schedule: {kind: warmup_stable_decay, warmup_steps: 100, decay_steps: 200}
  optimizer: {kind: adafactor}
---
version: 1
name: last
model: {base: ./base}
training: {optimizer: {kind: sgd}}
---
version: 1
name: merged
model: {base: {merge: {kind: ties, base: ./base, models: [{model: ./a, density: 0.3}, {model: ./b, density: 0.3}]}}}
---
version: 1
name: dropped
model: {base: {merge: {kind: dare_ties, base: ./base, models: [{model: ./a}, {model: ./b}]}}}
---
version: 1
name: thinned
model: {base: {merge: {kind: dare_linear, base: ./base, models: [{model: ./a}, {model: ./b}]}}}
---
version: 1
name: preferring
model: {base: ./base}
data:
  train: [{kind: files, paths: [pairs.jsonl], format: preference}]
  curriculum: {kind: perplexity, model: ./base}
method: {kind: dpo, loss_type: [{loss: sigmoid}, {loss: sft, weight: 0.2}]}
sweep:
  parameters:
    training.learning_rate: {kind: float, low: 1e-7, high: 1e-5, log: true}
    training.seed: {kind: int, low: 1, high: 8}
    method.beta: {kind: choice, values: [0.05, 0.1, 0.3]}
  objective: {metric: preference-accuracy/accuracy, direction: maximize}
---
version: 1
name: rewarded
model: {base: ./base}
data: {train: [{kind: files, paths: [prompts.jsonl], format: prompt}]}
method: {kind: grpo, reward_functions: [{kind: python, path: rewards.py, function: polite}]}
"""


def recipe_schema() -> Schema:
    """The schema of one document of a recipe file."""
    schema = _schema(Recipe, "A recipe")
    _add_examples(schema)
    properties = schema["properties"]
    schema["properties"] = {
        "version": properties["version"],
        "name": properties["name"],
        "extends": EXTENDS,
    } | properties
    # What a document extends may give what it lacks.
    schema["if"], schema["else"] = {"required": ["extends"]}, {"required": schema.pop("required")}
    definitions = schema["$defs"]
    definitions["Validation"]["oneOf"] = [{"required": ["fraction"]}, {"required": ["sources"]}]
    definitions["Hardware"]["properties"]["accelerator"] |= {"enum": list(facts.accelerators())}
    return schema


def editor_schema() -> Schema:
    """The same with the names that `extra` takes."""
    schema = recipe_schema()
    for section, options in (("Training", _trainer_options()), ("VLLM", _vllm_options())):
        schema["$defs"][section]["properties"]["extra"] |= {"properties": options, "additionalProperties": False}
    return schema


def plan_schema() -> Schema:
    """The schema of a plan."""
    return _schema(Plan, "A plan")


class _Generator(GenerateJsonSchema):
    """Without a title for every field: editors show it instead of the name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _schema(model: type[BaseModel], title: str) -> Schema:
    made = _tidy(model.model_json_schema(schema_generator=_Generator))
    definitions = made.pop("$defs")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    made = head | {key: value for key, value in made.items() if key != "title"}
    for section in definitions.values():
        section.pop("title", None)
    _describe_unions(made, definitions)
    for section in definitions.values():
        _describe_unions(section, definitions)
    return made | {"$defs": dict(sorted(definitions.items()))}


def _tidy(node: Any) -> Any:
    """Unions flat, `kind` first, no default that only repeats what its section says."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _tidy(value) for key, value in node.items() if key != "discriminator"}
    match node.get("default", ...):
        case {"kind": str() as kind}:
            node["default"] = {"kind": kind}
        case None | [_, *_]:
            del node["default"]
        case dict() as section if section:
            del node["default"]
    if isinstance(node.get("properties"), dict) and "kind" in node["properties"]:
        node["properties"] = {"kind": node["properties"]["kind"]} | node["properties"]
    return _flat_union(node) if "anyOf" in node else node


def _flat_union(node: Schema) -> Schema:
    members = [inner for member in node["anyOf"] for inner in member.get("oneOf", [member])]
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    values = [value for member in members for value in _values(member)]
    if len(members) == sum(1 for member in members if _values(member)):
        return {"enum": values} | rest
    plain = [member for member in members if member != {"type": "null"}]
    if len(plain) == 1 and isinstance(plain[0].get("type"), str) and len(plain) < len(members):
        return {**plain[0], "type": [plain[0]["type"], "null"]} | rest
    return {"oneOf": members} | rest


def _values(member: Schema) -> list[Any]:
    if "const" in member:
        return [member["const"]]
    return [None] if member == {"type": "null"} else list(member.get("enum", ()))


def _describe_unions(section: Schema, definitions: dict[str, Schema]) -> None:
    """Say of a field with several kinds what each is, and of each `kind` what it chooses."""
    for name, field in section.get("properties", {}).items():
        target = field.get("items", field)
        kinds = [kind for member in target.get("oneOf", ()) if (kind := _kind(member, definitions))]
        if kinds:
            listed = "\n".join(f"- `{kind}`: {text}" for kind, text in kinds)
            field["description"] = f"{field.get('description', '')}\n\n{listed}".strip()
        elif "description" not in field and len(sections := _sections(target, definitions)) == 1:
            field["description"] = _summary(sections[0])
        if name == "kind" and "const" in field:
            field["description"] = _summary(section)


def _sections(target: Schema, definitions: dict[str, Schema]) -> list[Schema]:
    names = [member["$ref"].rpartition("/")[2] for member in target.get("oneOf", ()) if "$ref" in member]
    return [definitions[name] for name in names]


def _kind(member: Schema, definitions: dict[str, Schema]) -> tuple[str, str] | None:
    section = definitions.get(member.get("$ref", "").rpartition("/")[2], {})
    kind = section.get("properties", {}).get("kind", {}).get("const")
    return (kind, _summary(section)) if kind else None


def _summary(section: Schema) -> str:
    return str(section.get("description", "")).partition("\n\n")[0].partition(" Source:")[0].replace("\n", " ")


def _trainer_options() -> dict[str, Schema]:
    """Fields of every trainer's configuration class; which of them a method has, validation knows."""
    found: dict[str, Schema] = {}
    for config in sorted({method.config for method in METHODS}):
        for name, field in sorted(facts.trainer_fields(config).items()):
            kinds = [_JSON_TYPES[kind] for kind in field.type.split(" | ")]
            option: Schema = {"type": kinds if len(kinds) > 1 else kinds[0], "default": field.default}
            found.setdefault(name, option | ({"enum": list(field.choices)} if field.choices else {}))
    return dict(sorted(found.items()))


_JSON_TYPES = {
    "int": "integer",
    "float": "number",
    "str": "string",
    "dict": "object",
    "list": "array",
    "bool": "boolean",
    "None": "null",
}


def _vllm_options() -> dict[str, Schema]:
    kinds: dict[str, Any] = {
        "bool": "boolean",
        "int": "integer",
        "float": "number",
        "str": "string",
        "json": ["object", "array", "string"],
        "list": ["array", "string", "number"],
    }
    found: dict[str, Schema] = {}
    for name, option in facts.vllm_options().items():
        if name in VLLM.model_fields:
            continue
        entry: Schema = {"type": kinds[option.kind]}
        if option.choices and option.kind == "str":
            entry["enum"] = list(option.choices)
        if option.default is not None:
            entry["default"] = option.default
        found[name] = entry
    return found


def _add_examples(schema: Schema) -> None:
    """Up to two examples of every section, taken from the mended recipes of the rules' manual pages.

    A section that none of them has is shown as its kind alone, or with its first field as it is when left out.
    """
    pages = [re.findall(r"```yaml\n(.*?)```", RULES[code].page, re.DOTALL)[1] for code in sorted(RULES)]
    found: dict[str, list[Any]] = {}
    for text in [*pages, MORE_EXAMPLES]:
        for source in parse(text, "example"):
            _collect(Recipe.model_validate(source.data), found)
    for name, section in schema["$defs"].items():
        if name in found:
            section["examples"] = sorted(found[name], key=_telling)[:2]
        elif section.get("required") == ["kind"]:
            section["examples"] = [{"kind": section["properties"]["kind"]["const"]}]
        elif "required" not in section and "properties" in section:
            key, field = next(iter(section["properties"].items()))
            section["examples"] = [{key: field["default"]}]
    schema["examples"] = sorted(found["Recipe"], key=_telling)[:1]


def _telling(example: Any) -> tuple[bool, int, str]:
    """Sorts the longest example that fits on a line to the front."""
    text = str(example)
    return len(text) > 160, len(text) if len(text) > 160 else -len(text), text


def _collect(value: Any, found: dict[str, list[Any]]) -> None:
    match value:
        case BaseModel():
            example = _kind_first(value.model_dump(mode="json", exclude_unset=True))
            examples = found.setdefault(type(value).__name__, [])
            if example not in examples:
                examples.append(example)
            for name in value.model_fields_set:
                _collect(getattr(value, name), found)
        case list():
            for item in value:
                _collect(item, found)
        case dict():
            for item in value.values():
                _collect(item, found)


def _kind_first(value: Any) -> Any:
    match value:
        case dict():
            ordered = {"kind": value["kind"]} | value if "kind" in value else value
            return {key: _kind_first(item) for key, item in ordered.items()}
        case list():
            return [_kind_first(item) for item in value]
    return value
