"""Whether what is to be downloaded fits the disk of this machine."""

import re
from collections.abc import Iterator

from llmrecipe.lint.data import EXTENSIONS
from llmrecipe.lint.rule import Finding
from llmrecipe.paths import suffix
from llmrecipe.remote.check import Case, Sound, check
from llmrecipe.remote.checks.dataset import configuration
from llmrecipe.remote.repository import Question, Repository

BESIDE_WEIGHTS = (".json", ".model", ".txt", ".jinja", ".py")
"""Files that models and tokenizers are read from beside their weights."""
ROWS = (*EXTENSIONS, ".arrow", ".zst", ".zip")
"""Files that Datasets reads rows from."""

SAFE = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
"""Weights, whole or in shards; those of a variant (`model.fp16.safetensors`) are left where they are."""

GIB = 2**30


def model_bytes(found: Repository) -> int:
    """Bytes that are downloaded of a model: the weights that Transformers takes, and the small files at the top."""
    top = {name: size for name, size in found.files.items() if "/" not in name and name not in found.cached}
    safe, pickled = ({name for name in found.files if kind.fullmatch(name)} for kind in (SAFE, PICKLED))
    taken = safe or pickled
    return sum(size for name, size in top.items() if name in taken or name.endswith(BESIDE_WEIGHTS))


def dataset_bytes(found: Repository, config: str | None) -> int:
    """Bytes that a dataset takes: its files, and its rows as Datasets stores them, where the card tells their size."""
    files = {name: size for name, size in found.files.items() if suffix(name).removesuffix(".gz") in ROWS}
    known = configuration(found.card, config)
    held = sum(size for name, size in files.items() if name in found.cached)
    download = max(0, (known.download or sum(files.values())) - held)
    return download + (known.prepared or 0 if download else 0)


@check("LR939", "warning")
def download_beyond_the_disk(case: Case) -> Iterator[Finding | Sound]:
    """
    ## What it does
    Adds up, in `llmrecipe validate --online` alone, what the models and datasets of a recipe take to download, without
    what is in the cache already, and compares it with what is free where the cache lies (HF_HUB_CACHE). Rows of
    datasets are stored a second time, as Arrow.

    ## Why is this bad?
    The download ends in the middle. What a training writes comes on top; `llmrecipe plan` adds that up. Where the check
    runs on another machine than the training, silence it.

    ## Example
    ```yaml
    # with 100 GiB free
    version: 1
    name: style
    model: {base: Qwen/Qwen3-235B-A22B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```

    ## Use instead
    ```yaml
    # with 100 GiB free
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    ```
    """
    sizes: dict[Question, int] = {}
    for one, found in case.models():
        sizes[one.question] = model_bytes(found)
    for one, source, found in case.datasets():
        sizes[one.question] = max(sizes.get(one.question, 0), dataset_bytes(found, source.config))
    total = sum(sizes.values())
    if total > case.space.free:
        largest = max(case.named, key=lambda one: sizes.get(one.question, 0))
        free = f"{case.space.free / GIB:,.1f} GiB are free in {case.space.folder}"
        message = f"models and datasets take {total / GIB:,.1f} GiB to download, and {free}"
        yield Finding(largest.at, message, "make room, or let HF_HOME name a folder on a larger disk")
