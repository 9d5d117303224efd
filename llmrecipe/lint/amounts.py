"""How much the files of a recipe hold, from their sizes and first lines: a range, for the figures that `plan` gives."""

from pathlib import Path

from llmrecipe.estimate.compute import Amount, Range
from llmrecipe.lint import local
from llmrecipe.lint.rule import Case
from llmrecipe.lint.sources import extension, training_sources
from llmrecipe.paths import is_url
from llmrecipe.recipe.data import Files
from llmrecipe.vocabulary import Deduplicate, Filter

PLAIN: Range = (1 / 5, 1 / 2.5)
"""Tokens for each byte of text: English in a large vocabulary at one end, other scripts or a small one at the other.
Our judgement."""
FIELDS: Range = (0.12, 0.4)
"""The same of JSON and CSV, where keys and quotes are no text. Our judgement."""
UNEVEN: Range = (0.8, 1.25)
"""Lines of a whole file beside what its first ones let expect. Our judgement."""
DROPPED = 0.5
"""Least share of the rows that filters and deduplication leave. Our judgement."""


def written(case: Case) -> Amount | None:
    """Rows and tokens of one epoch; None where a source is no plain file of this machine, or sources are weighted."""
    recipe = case.recipe
    sources = training_sources(recipe)
    if recipe.data is None or not sources:
        return None
    rows, tokens = (0.0, 0.0), (0.0, 0.0)
    for at, source in sources:
        if not isinstance(source, Files) or source.weight is not None:
            return None
        held = _source(case, at, source)
        if held is None:
            return None
        kept = [1.0 if source.max_samples is None else min(1.0, source.max_samples / each) for each in held[0]]
        rows = (rows[0] + held[0][0] * kept[0], rows[1] + held[0][1] * kept[1])
        tokens = (tokens[0] + held[1][0] * kept[1], tokens[1] + held[1][1] * kept[0])
    validation = recipe.data.validation
    share = 1 - (validation.fraction if validation is not None and validation.fraction is not None else 0)
    least = share * (DROPPED if any(isinstance(step, Filter | Deduplicate) for step in recipe.data.prepare) else 1)
    return Amount((max(1.0, rows[0] * least), max(1.0, rows[1] * share)), (tokens[0] * least, tokens[1] * share))


def _source(case: Case, at: str, source: Files) -> tuple[Range, Range] | None:
    """Rows and tokens of a source."""
    rows, size = (0.0, 0.0), 0
    for i, pattern in enumerate(source.paths):
        if is_url(pattern):
            return None
        for file in local.files(pattern, case.folder(f"{at}.paths.{i}")):
            found = _rows(file, source)
            if found is None:
                return None
            rows, size = (rows[0] + found[0], rows[1] + found[1]), size + local.size(file)
    if not rows[0]:
        return None
    rate = PLAIN if extension(source.paths[0]) == ".txt" else FIELDS
    return rows, (size * rate[0], size * rate[1])


def _rows(file: Path, source: Files) -> Range | None:
    kind = file.suffix  # Of a compressed file `.gz`, of which nothing is known.
    if kind == ".txt" and source.sample_by == "document":
        return (1.0, 1.0)
    if kind not in (".txt", ".jsonl", ".csv", ".tsv"):
        return None
    head, size = local.head(file), local.size(file)
    end = "\n\n" if kind == ".txt" and source.sample_by == "paragraph" else "\n"
    count = sum(bool(part.strip()) for part in head.split(end))
    if not count:
        return None
    read = len(head.encode())
    expected = count * size / read
    return (expected, expected) if read >= size else (expected * UNEVEN[0], expected * UNEVEN[1])
