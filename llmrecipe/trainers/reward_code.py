"""A Python function that a recipe points to: run only when the person allowed it, and only as it was pinned."""

import functools
import hashlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmrecipe.plan import PinnedFunction
from llmrecipe.stages.place import Place, StageError


def allowed(reward: PinnedFunction, place: Place) -> bool:
    """Whether the code of a function may run."""
    return place.allow_code or reward.file.sha256 in place.trusted


def function_of(reward: PinnedFunction, place: Place) -> Callable[..., Any]:
    """The function, from the very bytes that the plan names.

    Raises:
        StageError: code may not run, the file has changed, it fails, or it has no such function.
    """
    path = place.root / Path(reward.file.path).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StageError(f"`{reward.file.path}` cannot be read: {error.strerror}", "check the path") from None
    if hashlib.sha256(content).hexdigest() != reward.file.sha256:
        raise StageError(f"`{reward.file.path}` has changed since the run was planned", "run again")
    if not allowed(reward, place):
        raise StageError(
            f"the reward function `{reward.function}` of `{reward.file.path}` is Python code that would run here",
            "read that code, then `llmrecipe run --allow-code`, or add the file to your trust list "
            f"(`sha256sum {reward.file.path} >> ~/.config/llmrecipe/trust`)",
        )
    module = types.ModuleType(Path(reward.file.path).stem)
    module.__file__ = str(path)
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
    except Exception as error:
        raise StageError(f"`{reward.file.path}` fails when it is loaded: {_said(error)}", "correct the code") from error
    function = getattr(module, reward.function, None)
    if not callable(function):
        raise StageError(f"`{reward.file.path}` has no function `{reward.function}`", "correct `function`")
    return _blamed(reward, function)


def _blamed(reward: PinnedFunction, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose exceptions say which answers it was called with."""

    @functools.wraps(function)
    def call(prompts: list[Any], completions: list[Any], **columns: Any) -> Any:
        try:
            return function(prompts=prompts, completions=completions, **columns)
        except Exception as error:
            row = _culprit(function, prompts, completions, columns)
            where = "" if row is None else f" at the answer {completions[row]!r:.200} to {prompts[row]!r:.200}"
            message = f"the reward function `{reward.name}` of `{reward.file.path}` failed{where}: {_said(error)}"
            raise StageError(message, "correct the code; the log has the traceback") from error

    return call


def _culprit(
    function: Callable[..., Any], prompts: list[Any], completions: list[Any], columns: dict[str, Any]
) -> int | None:
    """The first row with which the function fails alone."""
    for row in range(len(prompts)):
        each = {name: [value[row]] if _is_column(value, len(prompts)) else value for name, value in columns.items()}
        try:
            function(prompts=[prompts[row]], completions=[completions[row]], **each)
        except Exception:
            return row
    return None


def _is_column(value: Any, rows: int) -> bool:
    return isinstance(value, list) and len(value) == rows


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
