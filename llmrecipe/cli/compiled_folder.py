"""A folder of compiled files: it knows which files it wrote, replaces those, and touches no other."""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from llmrecipe.cli.front import UsageError

LIST = ".llmrecipe-files.json"
"""Path -> SHA-256 of every file that `llmrecipe compile` wrote into this folder."""


@dataclass(frozen=True)
class Written:
    """What writing has changed."""

    written: list[str]
    removed: list[str]
    kept: list[str]
    """Files of an earlier compile that are no longer made, but were edited by hand."""


class CompiledFolder:
    """`-o DIR`.

    Raises:
        UsageError: on opening, DIR is a file, or has files of somebody else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = self._listed()

    def differences(self, files: Mapping[str, str]) -> Iterator[str]:
        """A unified diff for each file that writing would change: the folder first, what is compiled now second."""
        for name in sorted(files.keys() | self.files.keys()):
            there, now = self._text(name), files.get(name)
            if there == now:
                continue
            before, after = ([] if text is None else text.splitlines(keepends=True) for text in (there, now))
            old = "/dev/null" if there is None else str(self.path / name)
            new = "/dev/null" if now is None else f"compiled/{name}"
            yield from (
                line if line.endswith("\n") else line + "\n" for line in difflib.unified_diff(before, after, old, new)
            )

    def write(self, files: Mapping[str, str]) -> Written:
        """Let the folder hold these files: each is written beside and renamed, others of ours are removed.

        Raises:
            UsageError: a file is in the way, or the folder cannot be written.
        """
        for name in files:
            if name not in self.files and (self.path / name).exists():
                raise UsageError(f"{self.path / name} is in the way: `llmrecipe compile` did not write it; remove it")
        try:
            return self._write(files)
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from None

    def _write(self, files: Mapping[str, str]) -> Written:
        stale = [name for name in self.files if name not in files]
        kept = [name for name in stale if self._edited(name)]
        changed = [name for name, text in files.items() if self._text(name) != text]
        if not changed and not stale and self.files:
            return Written([], [], [])
        digests = {name: _digest(text) for name, text in files.items()}
        # A kill between two renames must leave a list that knows every file that may be there.
        self._put(LIST, _list(self.files | digests))
        for name in changed:
            self._put(name, files[name])
        removed = [name for name in stale if name not in kept]
        for name in removed:
            self._remove(name)
        self._put(LIST, _list(digests))
        return Written(changed, removed, kept)

    def _put(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.partial")
        beside.write_text(text, encoding="utf-8", newline="")
        if text.startswith("#!"):
            beside.chmod(0o755)
        beside.replace(path)

    def _remove(self, name: str) -> None:
        path = self.path / name
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self.path or any(folder.iterdir()):
                break
            folder.rmdir()

    def _edited(self, name: str) -> bool:
        text = self._text(name)
        return text is not None and _digest(text) != self.files[name]

    def _text(self, name: str) -> str | None:
        """Text of a file that is there; bytes that are no text are some other text than ours."""
        try:
            return (self.path / name).read_bytes().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from None

    def _listed(self) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads((self.path / LIST).read_text("utf-8"))["files"]
        except FileNotFoundError:
            if self.path.is_dir() and any(self.path.iterdir()):
                raise UsageError(
                    f"{self.path} is not empty and `llmrecipe compile` did not write it; name another folder with -o"
                ) from None
            return {}
        except NotADirectoryError:
            raise UsageError(f"{self.path} is a file; name a folder with -o") from None
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise UsageError(_damaged(self.path)) from None
        if not isinstance(found, dict) or not all(_inside(name) for name in found):
            raise UsageError(_damaged(self.path))
        return found


def _damaged(path: Path) -> str:
    return f"{path / LIST} is damaged; remove {path} and compile again"


def _inside(name: str) -> bool:
    """Whether a name of the list leads into the folder: what it leads to may be removed."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _list(digests: Mapping[str, str]) -> str:
    return json.dumps({"files": dict(sorted(digests.items()))}, indent=2) + "\n"
