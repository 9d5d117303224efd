"""YAML 1.2 text -> plain data and a span for every key and value."""

import difflib
import os
from pathlib import Path as FilePath

from llmrecipe import looking
from llmrecipe.source.composer import Composer
from llmrecipe.source.positions import Positions
from llmrecipe.source.spans import Path, Problem, Source, SourceError, Span

MAX_BYTES = 4 * 2**20


def load(path: str) -> list[Source]:
    """All documents of a file, in their order.

    Raises:
        SourceError: it is missing, no text, no YAML, or uses what recipes do not (tags, duplicate keys, `<<`).
    """
    try:
        with FilePath(path).open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
        looking.read(os.path.abspath(path), raw)  # noqa: PTH100
    except (OSError, ValueError) as error:
        raise SourceError([_unreadable(path, error)]) from None
    if len(raw) > MAX_BYTES:
        message = f"`{path}` is larger than {MAX_BYTES // 2**20} MiB"
        raise SourceError([Problem("document-too-large", message, _start(path), "a recipe names data, it holds none")])
    return parse(_decode(raw, path), path)


def parse(text: str, file: str) -> list[Source]:
    """All documents of a text; `file` is what spans call it.

    Raises:
        SourceError: as for `load`.
    """
    composer = Composer(text, file)
    sources = composer.documents()
    if composer.problems:
        raise SourceError(composer.problems, sources)
    return sources


def _start(file: str) -> Span:
    return Span(file, 1, 1, 1, 1)


def _unreadable(path: str, error: OSError | ValueError) -> Problem:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            folder = FilePath(path).parent
            names = [found.name for found in folder.glob("*.y*ml")] if folder.is_dir() else []
            near = difflib.get_close_matches(FilePath(path).name, names, 1, 0.75)
            message = f"there is no file `{path}`"
            hint = (
                f"did you mean `{folder / near[0]}`?" if near else "check the path and the folder that it starts from"
            )
        case IsADirectoryError():
            message, hint = f"`{path}` is a folder", "name a recipe file in it"
        case OSError():
            message, hint = f"`{path}` cannot be read: {error.strerror}", "check its permissions"
        case _:
            message, hint = "a path cannot contain a NUL character", "check the path"
    return Problem("unreadable-file", message, _start(path), hint)


def _decode(raw: bytes, path: str) -> str:
    """The text of a file, without a byte order mark."""
    try:
        text = raw.decode("utf-8-sig")
        position = text.find("\0")
    except UnicodeDecodeError as error:
        text = raw.decode("utf-8-sig", "replace")
        position = len(raw[: error.start].decode("utf-8-sig", "replace"))
    if position < 0:
        return text
    span = Positions(text, path).span(position, position + 1)
    message = f"`{path}` is not a text file in UTF-8"
    raise SourceError([Problem("unreadable-file", message, span, "a recipe is YAML text; save it as UTF-8")])


__all__ = ["Path", "Problem", "Source", "SourceError", "Span", "load", "parse"]
