"""The data stages, run in folders of a test."""

import json
from pathlib import Path
from typing import Any

from llmrecipe.paths import suffix
from llmrecipe.plan import DataSource, PinnedFile, PinnedFiles, PrepareData, Tokenize, TrainTokenizer
from llmrecipe.stages import prepare_data, tokenize, train_tokenizer
from llmrecipe.stages.place import Place
from llmrecipe.stages.rows.shards import read_rows
from llmrecipe.vocabulary import ROW_KIND, TrainedTokenizer

CHATML = (Path(train_tokenizer.__file__).parents[1] / "facts" / "chatml.jinja").read_text(encoding="utf-8")


def source(*paths: str, format: str = "text", sample_by: str = "line", **options: Any) -> DataSource:
    files = [PinnedFile(path=path, suffix=suffix(path), size=0, sha256="") for path in paths]
    given = {"columns": {}, "weight": None, "max_samples": None, "label": "data.train[0]", **options}
    return DataSource(origin=PinnedFiles(kind="files", files=files, sample_by=sample_by), format=format, **given)


def place(folder: Path, **inputs: Path) -> Place:
    output, work = folder / "output", folder / "work"
    output.mkdir(parents=True)
    work.mkdir()
    return Place(inputs, output, work, folder.parent)


def prepare(folder: Path, *train: DataSource, **options: Any) -> Path:
    """The output of a preparation; paths of sources start from the parent of `folder`."""
    given = {"validation": [], "validation_fraction": None, "steps": [], "seed": 1} | options
    given.setdefault("stopping_strategy", "first_exhausted")
    here = place(folder)
    rows = ROW_KIND[train[0].format]
    prepare_data.run(PrepareData(kind="prepare_data", train=list(train), rows=rows, **given), here)
    return here.output


def prepare_rows(folder: Path, rows: list[dict[str, Any]], format: str, **options: Any) -> Path:
    """The output of a preparation of those rows."""
    name = f"{folder.name}.jsonl"
    write_jsonl(folder.parent / name, rows)
    return prepare(folder, source(name, format=format), **options)


def write_jsonl(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(output: Path, split: str = "train") -> list[dict[str, Any]]:
    return list(read_rows(output / "rows" / split))


def report(output: Path) -> dict[str, Any]:
    return json.loads((output / "report" / "report.json").read_text(encoding="utf-8"))


def tokenizer_spec(**options: Any) -> TrainTokenizer:
    options = {"vocab_size": 320} | options
    return TrainTokenizer(
        kind="train_tokenizer",
        chat_template=options.pop("chat_template", CHATML),
        tokenizer=TrainedTokenizer(kind="train", **options),
        max_length=64,
    )


def train_a_tokenizer(folder: Path, rows: Path, **options: Any) -> Path:
    """The tokenizer folder."""
    here = place(folder, rows=rows)
    train_tokenizer.run(tokenizer_spec(**options), here)
    return here.output / "tokenizer"


def tokenize_rows(folder: Path, prepared: Path, trained: Path, **options: Any) -> Path:
    """The output of a tokenization."""
    given = {
        "objective": "causal",
        "tokenizer": None,
        "chat_template": None,
        "loss_on": "all",
        "max_length": 64,
        "packing": "none",
        "trust_remote_code": False,
    } | options
    here = place(folder, rows=prepared, tokenizer=trained)
    tokenize.run(Tokenize(kind="tokenize", **given), here)
    return here.output
