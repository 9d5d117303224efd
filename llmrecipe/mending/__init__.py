"""The smallest change that mends a finding: of a document, of the text that it was read from, of files."""

from llmrecipe.mending.changes import Change, Drop, Put, Rename, Swap, fix, location
from llmrecipe.mending.names import nearest
from llmrecipe.mending.texts import CannotEditError, Replacement, Text, overlap, replaced

__all__ = [
    "CannotEditError",
    "Change",
    "Drop",
    "Put",
    "Rename",
    "Replacement",
    "Swap",
    "Text",
    "fix",
    "location",
    "nearest",
    "overlap",
    "replaced",
]
