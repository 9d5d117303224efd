"""Code that a plan would run: what it is, and whether it may."""

from collections.abc import Iterator

from llmrecipe import trust
from llmrecipe.plan import Evaluate, PinnedFunction, Plan, RewardSuite, Train
from llmrecipe.store import RunError


def functions(plan: Plan) -> Iterator[PinnedFunction]:
    """The Python functions of a plan, each file with each function once."""
    found: dict[tuple[str, str], PinnedFunction] = {}
    for stage in plan.stages:
        match stage.spec:
            case Train(rewards=rewards) | Evaluate(suite=RewardSuite(rewards=rewards)):
                found |= {(r.file.sha256, r.function): r for r in rewards if isinstance(r, PinnedFunction)}
            case _:
                continue
    yield from found.values()


def told(function: PinnedFunction, trusted: frozenset[str]) -> str:
    """One line about a function for `plan`."""
    needs = "in your trust list" if function.file.sha256 in trusted else "needs --allow-code or your trust list"
    return f"{function.file.path}: {function.function} (sha256 {function.file.sha256[:12]}), {needs}"


def check(plan: Plan, allow_code: bool) -> None:
    """See before the first stage that the code of a plan may run.

    Raises:
        RunError: neither was it allowed for this run, nor is the file in the user's trust list.
    """
    trusted = trust.trusted()
    for function in functions(plan):
        if not allow_code and function.file.sha256 not in trusted:
            raise RunError(
                f"the reward function `{function.function}` of `{function.file.path}` is Python code that would run "
                "with your rights",
                "read that code, then add --allow-code, or add the file to your trust list: "
                f"sha256sum {function.file.path} >> {trust.trust_list()}",
            )
