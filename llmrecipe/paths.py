"""Where the paths of a recipe lead: each starts from the folder of the file in which it was written."""

import os
from pathlib import Path

from llmrecipe.document import Document
from llmrecipe.looking import expand
from llmrecipe.source import Path as Location

__all__ = ["OVERRIDE", "expand", "folder", "is_url", "portable", "suffix"]

OVERRIDE = "--set"
"""What spans of values from the command line have as their file; their paths start from the recipe's folder."""


def is_url(path: str) -> bool:
    """Whether a path names another file system (`s3://...`, `https://...`), as fsspec writes it."""
    return "://" in path


def suffix(path: str) -> str:
    """The end of a name that says how a file is read: `.jsonl`, or `.jsonl.gz`; of a URL without its query.

    Of a chain as fsspec writes it (`zip://rows.csv::https://...`) the first that names a file.
    """
    link = next((link for link in path.split("::") if is_url(link)), path)
    name = (link.partition("?")[0] if is_url(link) else link).rpartition("/")[2].lower()
    compression = ".gz" if name.endswith(".gz") else ""
    stem, dot, extension = name.removesuffix(".gz").rpartition(".")
    return dot + extension + compression if stem else compression


def folder(document: Document, location: Location) -> Path:
    """The folder from which a relative path at `location` starts."""
    written = document.source.at(location).file
    return Path(document.source.file if written == OVERRIDE else written).parent


def portable(pattern: str, found: Path, root: Path) -> str:
    """A found file as a plan writes it: from `root`, with `/`, unless the recipe wrote an absolute path."""
    if Path(pattern).expanduser().is_absolute():
        return found.as_posix()
    return Path(os.path.relpath(found, root)).as_posix()
