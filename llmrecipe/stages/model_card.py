"""The model card: what the model is, how to use it, what it was made from, how it was measured."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llmrecipe.plan import Export, HubModel, Record, Train
from llmrecipe.stages.lineage import ancestors, lineage
from llmrecipe.stages.place import Place
from llmrecipe.vocabulary import Head

_METRICS = "metrics_"
"""Inputs with this prefix are folders with `metrics.json`; the rest of the name is the suite."""


@dataclass(frozen=True)
class _Head:
    """How a model is spoken of, loaded and used by what it ends in."""

    name: str
    task: str
    """What the Hub calls it."""
    loader: str
    use: str


_HEADS: dict[Head, _Head] = {
    "causal": _Head(
        "causal language model",
        "text-generation",
        "AutoModelForCausalLM",
        'inputs = tokenizer("Hello", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0], skip_special_tokens=True))",
    ),
    "masked": _Head(
        "masked language model",
        "fill-mask",
        "AutoModelForMaskedLM",
        'inputs = tokenizer(f"Hello, {tokenizer.mask_token}!", return_tensors="pt")\n'
        'hidden = inputs["input_ids"] == tokenizer.mask_token_id\n'
        "print(tokenizer.decode(model(**inputs).logits[hidden].argmax(-1)))",
    ),
    "reward": _Head(
        "reward model",
        "text-classification",
        "AutoModelForSequenceClassification",
        'inputs = tokenizer("Hello", return_tensors="pt")\nprint(model(**inputs).logits[0, 0])  # higher is better',
    ),
}


def card(spec: Export, place: Place, parameters: int, adapter: bool) -> str:
    """Markdown with a front matter as the Hub reads it. Names no folder of this machine.

    Args:
        parameters: number of weights that are exported.
        adapter: whether these are an adapter alone.
    """
    records = lineage(place)
    suites = _suites(place)
    parts = [
        _front_matter(spec, records, adapter),
        f"# {spec.name}",
        spec.description,
        _summary(spec, records, parameters, adapter),
        _usage(spec, records, adapter),
        _section("Evaluation", _table(("suite", "metric", "value"), _scores(suites))),
        _section("Training", _table(("measure", "value"), _training(records))),
        _section("Data", _data(place)),
        _section("Recipe", f"```yaml\n{spec.recipe.strip()}\n```"),
        _section("Lineage", _table(("stage", "address", "versions"), _ancestry(records))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(spec: Export, records: list[Record], adapter: bool) -> str:
    methods = dict.fromkeys(record.spec.method for record in records if isinstance(record.spec, Train))
    bases = list(dict.fromkeys(model.repo for model in _bases(spec, records)))
    fields: dict[str, Any] = {
        "base_model": bases[0] if len(bases) == 1 else bases,
        "license": spec.license,
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": _HEADS[spec.head].task,
        "tags": ["llmrecipe", *methods],
    }
    text = yaml.safe_dump({name: value for name, value in fields.items() if value}, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---"


def _bases(spec: Export, records: list[Record]) -> list[HubModel]:
    return [spec.model] if isinstance(spec.model, HubModel) else ancestors(records)


def _summary(spec: Export, records: list[Record], parameters: int, adapter: bool) -> str:
    kind = "An adapter" if adapter else f"A {_HEADS[spec.head].name}"
    lines = [f"{kind} with {parameters:,} parameters."]
    if bases := _bases(spec, records):
        lines += [f"Base: {', '.join(_named(model) for model in bases)}."]
    elif spec.base is not None:
        lines += [f"Base: {Path(spec.base).name}."]
    else:
        lines += ["Trained from scratch."]
    return " ".join(lines)


def _named(model: HubModel) -> str:
    return f"{model.repo}@{model.revision}" if model.revision else model.repo


def _usage(spec: Export, records: list[Record], adapter: bool) -> str:
    head = _HEADS[spec.head]
    if adapter:
        base = next((model.repo for model in reversed(_bases(spec, records))), spec.base and Path(spec.base).name)
        load = (
            "from peft import PeftModel\n\n"
            f'base = {head.loader}.from_pretrained("{base}", dtype="auto")\n'
            f'model = PeftModel.from_pretrained(base, "{spec.name}")'
        )
    else:
        load = f'\nmodel = {head.loader}.from_pretrained("{spec.name}", dtype="auto")'
    return _section(
        "Use",
        f"```python\nfrom transformers import {head.loader}, AutoTokenizer\n"
        f"{load}\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{spec.name}")\n'
        f"{head.use}\n```\n\n"
        f"`{spec.name}` is this folder. `tokenizer.apply_chat_template` writes a conversation as the model knows it, "
        "where the tokenizer has a template; `sha256sum -c SHA256SUMS` checks the files.",
    )  # fmt: skip


def _suites(place: Place) -> dict[str, dict[str, float]]:
    return {
        name.removeprefix(_METRICS): json.loads((folder / "metrics.json").read_bytes())
        for name, folder in place.inputs.items()
        if name.startswith(_METRICS)
    }


def _scores(suites: dict[str, dict[str, float]]) -> list[tuple[str, ...]]:
    return [(suite, name, _number(value)) for suite, metrics in suites.items() for name, value in metrics.items()]


def _training(records: list[Record]) -> list[tuple[str, ...]]:
    """What the last training measured."""
    found = [record for record in records if isinstance(record.spec, Train)]
    return [(name, _number(value)) for name, value in found[-1].metrics.items()] if found else []


def _data(place: Place) -> str:
    """The reports of preparation and tokenization as lists; examples of rows stay at home."""
    parts = []
    for name in ("prepare_report", "tokenize_report"):
        if name in place.inputs:
            report = json.loads((place.inputs[name] / "report.json").read_bytes())
            parts += [f"- {path}: {_number(value)}" for path, value in _leaves(report)]
    return "\n".join(parts)


def _leaves(report: Any, path: str = "") -> Iterator[tuple[str, int | float]]:
    """Every number of a report and where it stands; sources go by their labels."""
    items = report.items() if isinstance(report, dict) else enumerate(report) if isinstance(report, list) else ()
    for name, value in items:
        label = value.get("label", name) if isinstance(value, dict) else name
        at = f"{path} / {label}" if path else str(label)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield at, value
        elif not str(name).endswith("samples"):
            yield from _leaves(value, at)


def _ancestry(records: list[Record]) -> list[tuple[str, ...]]:
    return [
        (record.name, f"`{record.address}`", ", ".join(f"{name} {v}" for name, v in record.packages.items() if v))
        for record in records
    ]


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
