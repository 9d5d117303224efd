"""What the Hub is asked, and what it says: of a repository, or why it says nothing of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmrecipe.lock import RepoKind

Reason = Literal["malformed", "missing", "disabled", "gated", "forbidden", "token", "revision", "silent"]
"""Why there is no answer.

`malformed`: the name is no name of a repository. `missing`: there is none, or it is private. `disabled`: the Hub has
closed it. `gated`: its owner asks for consent first. `forbidden`: the token may not read it. `token`: the token itself
is none. `revision`: the repository has no such branch, tag or commit. `silent`: no network, no time, no Hub.
"""


@dataclass(frozen=True)
class Question:
    """A repository that a recipe names."""

    kind: RepoKind
    repo: str
    revision: str | None = None
    """Branch, tag or commit; the default branch when none is given."""


@dataclass(frozen=True)
class Repository:
    """What is known of a repository after its metadata and a few small files were read."""

    id: str
    """Its name as the Hub has it now."""
    commit: str
    files: Mapping[str, int]
    """Path -> bytes; 0 where the Hub does not say."""
    cached: frozenset[str] = frozenset()
    """Paths of what lies in the cache of this machine already."""
    config: Mapping[str, Any] | None = None
    """`config.json` of a model; none where it has none, or none that can be read."""
    tokenizer_config: Mapping[str, Any] | None = None
    """`tokenizer_config.json`, likewise."""
    adapter_config: Mapping[str, Any] | None = None
    """`adapter_config.json`, likewise."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """What the head of its README says."""


@dataclass(frozen=True)
class Refusal:
    """Why the Hub says nothing of a repository."""

    reason: Reason
    told: str = ""
    """What is known of the cause, in a few words."""
    near: str | None = None
    """A name, branch or tag that was probably meant."""
    other_kind: bool = False
    """Whether there is a repository of that name of the other kind."""
    with_token: bool = False
    """Whether a token was sent."""


Answer = Repository | Refusal
Answers = Mapping[Question, Answer]
Ask = Callable[[Question], Answer]


@dataclass(frozen=True)
class Space:
    """Where downloads go."""

    folder: str
    free: int
    """Bytes."""
