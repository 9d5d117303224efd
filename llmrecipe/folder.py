"""The folder of a run: links to artifacts, logs, compiled files and the summary."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from llmrecipe.store import RunError, write
from llmrecipe.summary import Summary


class RunFolder:
    """`runs/NAME`. Making this object touches nothing; `create` does."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def create(self) -> None:
        """Make the folder.

        Raises:
            RunError: it cannot be written.
        """
        try:
            (self.path / "logs").mkdir(parents=True, exist_ok=True)
            if not os.access(self.path, os.W_OK):
                raise PermissionError(13, os.strerror(13), str(self.path))
        except OSError as error:
            raise RunError(
                f"the folder of the run cannot be written: {error.strerror}: {error.filename}",
                "choose another folder with `--runs DIR`",
            ) from None

    def log(self, stage: str) -> Path:
        """The log of a stage: `logs/RECIPE/STAGE.log`."""
        path = self.path / "logs" / f"{stage}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def relative(self, path: Path) -> str:
        """How the summary calls a file of this folder."""
        return path.relative_to(self.path).as_posix()

    def link(self, name: str, target: Path) -> None:
        """Let `name` lead to a folder, in one step and by a relative path."""
        link = self.path / name
        link.parent.mkdir(parents=True, exist_ok=True)
        beside = link.with_name(f".{link.name}.{os.getpid()}")
        with suppress(FileNotFoundError):
            beside.unlink()
        beside.symlink_to(os.path.relpath(target, link.parent))
        beside.replace(link)

    def keep_links(self, targets: Mapping[str, Path]) -> None:
        """Remove the links of earlier plans; those of this one stay.

        Args:
            targets: link -> the folder to which it must lead.
        """
        for link in (*self.path.glob("*"), *self.path.glob("*/*")):
            target = targets.get(self.relative(link))
            if not link.is_symlink() or (target and target.is_dir() and link.resolve() == target.resolve()):
                continue
            link.unlink(missing_ok=True)
            with suppress(OSError):
                link.parent.rmdir()

    def compile(self, files: Mapping[str, str]) -> None:
        """Write the files that run the plan without llmrecipe's runner; what starts with `#!` can be executed."""
        for name, text in files.items():
            path = self.path / "compiled" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, text)
            if text.startswith("#!"):
                path.chmod(0o755)

    def write(self, summary: Summary) -> None:
        """Write `summary.json`."""
        text = json.dumps(summary.model_dump(mode="json"), indent=2, ensure_ascii=False)
        write(self.path / "summary.json", text + "\n")
