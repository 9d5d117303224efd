"""Where rows lie: a file of this machine, files of a Hub dataset, or a dataset."""

from typing import Any

from llmrecipe.importing.case import Case

DATA_ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".gz", ".zst", ".arrow")
READERS = ("json", "csv", "parquet", "text")
"""Names that Datasets has for reading files."""


def place(case: Case, path: str, files: list[str], folder: bool = True) -> dict[str, Any]:
    """The beginning of a source: `files` with paths, or `hub` with a dataset.

    Args:
        files: those named beside the path, of the dataset or of a reader of Datasets.
        folder: whether a folder of this machine stands for the files in it.
    """
    if files:
        if path in READERS:
            return {"kind": "files", "paths": [case.local(each) or each for each in files]}
        local = case.local(path)
        start = f"{local}/" if local is not None else f"hf://datasets/{path}/"
        return {"kind": "files", "paths": [start + each for each in files]}
    if "://" in path:
        return {"kind": "files", "paths": [path]}
    local = case.local(path)
    if local is not None:
        is_folder = folder and not local.endswith(DATA_ENDINGS)
        return {"kind": "files", "paths": [f"{local}/*"] if is_folder else [local]}
    if path.endswith(DATA_ENDINGS) or path.startswith(("./", "../", "/", "~")):
        return {"kind": "files", "paths": [path]}
    return {"kind": "hub", "dataset": path}


def python_file(case: Case, module: str) -> str:
    """The file of a Python module that stands beside the configuration; it is named, and never read."""
    path = f"{module.replace('.', '/')}.py"
    return case.local(path) or path
