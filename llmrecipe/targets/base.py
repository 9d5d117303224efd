"""What a target is: a plan -> the files of one way to run or serve it, and why it may refuse."""

from collections.abc import Iterator
from typing import Protocol

from llmrecipe.plan import Plan, Service

Files = dict[str, str]
"""Path inside the compiled folder, with `/` -> text. Text that starts with `#!` is executable."""


class Target(Protocol):
    """A module with `render`: pure, and the same text for the same plan."""

    def render(self, plan: Plan, root: str = ".") -> Files:
        """The files.

        Args:
            plan: what to run and to serve.
            root: the recipe's folder as seen from the compiled folder, with `/`.

        Raises:
            TargetError: the plan does not have what the target is about.
        """


class TargetError(ValueError):
    """A target cannot say this plan: what is so, what to do, and where the recipe says it."""

    def __init__(self, message: str, help: str, recipe: str | None = None, at: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.help = help
        self.recipe = recipe
        """Name of the document; the last one when it is none in particular."""
        self.at = at
        """Where in that document."""


def vllm_services(plan: Plan) -> Iterator[Service]:
    """The servers that can be deployed: `transformers` is a local look, on this machine alone."""
    return (service for service in plan.services if service.engine == "vllm")


def served(plan: Plan, target: str) -> list[Service]:
    """The servers that can be deployed, of which there is at least one.

    Raises:
        TargetError: there is none.
    """
    found = list(vllm_services(plan))
    if found:
        return found
    if plan.services:
        recipe = plan.services[-1].recipe
        message = f"`{target}` deploys vLLM, and `{recipe}` is served by transformers"
        help_ = "write `serving: {kind: vllm}`, or use `llmrecipe serve`"
        raise TargetError(message, help_, recipe, ("serving", "kind"))
    raise TargetError(f"the recipe has no `serving`, which `{target}` needs", "add `serving: {kind: vllm}`")
