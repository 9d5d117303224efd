"""What the models learned from: rows in, kept and dropped, how long they are, and how the model sees the first ones."""

from collections.abc import Callable, Iterator
from typing import Any

from llmrecipe.report.html import Content, Html, element, empty, number, percent, table
from llmrecipe.report.reading import Run

LEVELS = ("min", "p10", "p50", "p90", "p99", "max", "mean")

TOKEN_COLUMNS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("rows", lambda part: number(part["kept"])),
    ("tokens", lambda part: number(part["tokens"])),
    ("learned from", lambda part: percent(part["supervised_share"])),
    ("rows cut", lambda part: percent(part["truncated_share"])),
    ("sequences", lambda part: number(part["sequences"])),
    ("filled", lambda part: percent(part["packing_efficiency"])),
)
"""Title -> how a split of the report shows it."""


def data(run: Run) -> Iterator[Html]:
    """A section with one part for each preparation and each tokenization."""
    parts: list[Html] = []
    for stage in run.stages:
        report = stage.json("report/report.json")
        if stage.kind == "prepare_data" and report:
            parts += [element("h3", stage.plan.name), *_prepared(report)]
        if stage.kind == "tokenize" and report:
            parts += [element("h3", stage.plan.name), *_tokenized(report)]
    if parts:
        yield element("h2", "Data")
        yield from parts


def _prepared(report: dict[str, Any]) -> Iterator[Html]:
    yield table(
        ["source", "for", "rows in", "kept", "used", "dropped because"],
        [
            [_source(s), s["split"], number(s["rows_in"]), number(s["kept"]), number(s["used"]), _reasons(s)]
            for s in report["sources"]
        ],
    )
    yield _lengths(report, "characters", "characters of a row")
    if repeated := report.get("train_rows_also_in_validation"):
        yield element("p", f"{number(repeated)} training rows are equal to a validation row.", class_="bad")
    dropped = report.get("drop_samples") or {}
    if dropped:
        rows: list[list[Content]] = [
            [reason, sample["where"], element("div", sample["text"], class_="said")]
            for reason, samples in dropped.items()
            for sample in samples
        ]
        yield element(
            "details", element("summary", "Examples of dropped rows"), table(["because", "where", "row"], rows)
        )


def _source(source: dict[str, Any]) -> Html:
    names = source["names"]
    shown = [*names[:3], *([f"and {len(names) - 3} more"] if len(names) > 3 else [])]
    weight = "" if source.get("weight") is None else f", weight {number(source['weight'])}"
    return element("span", f"{source['label']}{weight}", empty("br"), element("span", ", ".join(shown), class_="dim"))


def _reasons(source: dict[str, Any]) -> str:
    return "; ".join(f"{number(count)} {reason}" for reason, count in source["dropped"].items()) or "–"


def _lengths(report: dict[str, Any], key: str, what: str) -> Html:
    found = {split: report.get(split) or {} for split in ("train", "validation")}
    rows: list[list[Content]] = [
        [split, number(part.get("kept", part["rows"])), *(number(part[key].get(level)) for level in LEVELS)]
        for split, part in found.items()
        if part.get(key)
    ]
    return table([what, "rows", *LEVELS], rows, numbers=1)


def _tokenized(report: dict[str, Any]) -> Iterator[Html]:
    yield table(
        ["set", *(title for title, _ in TOKEN_COLUMNS), "dropped because"],
        [
            [split, *(show(part) for _, show in TOKEN_COLUMNS), _reasons(part)]
            for split in ("train", "validation")
            if (part := report.get(split))
        ],
        numbers=1,
    )
    yield _lengths(report, "length", "tokens of a row")
    for warning in report.get("warnings") or []:
        yield element("p", warning, class_="bad")
    samples = (report.get("train") or {}).get("samples") or []
    if samples:
        legend = element("span", "marked", class_="learn")
        yield element(
            "p", "The first rows as the model sees them; ", legend, " is what it learns to say.", class_="dim"
        )
    for sample in samples:
        yield _row(sample)


def _row(sample: dict[str, Any]) -> Html:
    parts = [element("span", span["text"], class_="learn" if span["learned"] else None) for span in sample["spans"]]
    if "rejected" in sample:
        parts += [element("b", "\nrejected: ", class_="dim"), element("span", sample["rejected"])]
    return element("div", *parts, class_="tokens")
