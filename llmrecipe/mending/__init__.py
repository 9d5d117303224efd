"""The smallest change that mends a finding: of a document, of the text that it was read from, of files."""

from llmrecipe.mending.changes import Change, Cut, Drop, Put, Rename, fix, location
from llmrecipe.mending.texts import CannotEditError, Replacement, Text, overlap, replaced

__all__ = [
    "CannotEditError",
    "Change",
    "Cut",
    "Drop",
    "Put",
    "Rename",
    "Replacement",
    "Text",
    "fix",
    "location",
    "overlap",
    "replaced",
]
