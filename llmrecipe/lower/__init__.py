"""Recipe -> plan: stages, services, and every value that a recipe leaves to us, with its reason."""

from collections.abc import Sequence

from llmrecipe.accelerating import Launched
from llmrecipe.lock import Lock
from llmrecipe.lower.error import LoweringError
from llmrecipe.lower.services import services
from llmrecipe.lower.stages import Lowering
from llmrecipe.plan import Derived, Plan, Service, Stage
from llmrecipe.recipe import Recipe

__all__ = ["LoweringError", "lower"]


def lower(recipes: Sequence[Recipe], lock: Lock, launched: Launched | None = None) -> Plan:
    """The plan of recipes that are in the order of their references; it is named after the last.

    The processes of a launcher that runs already take the place of those that the recipes declare.

    Raises:
        LoweringError: the global batch does not divide by that number of processes.
    """
    known: dict[str, Recipe] = {}
    stages: list[Stage] = []
    servers: list[Service] = []
    derived: list[Derived] = []
    for recipe in recipes:
        known[recipe.name] = recipe
        lowering = Lowering(recipe, lock, launched, known)
        stages += lowering.stages()
        derived += lowering.derived.values()
        servers += services(recipe, known)
    return Plan(
        name=recipes[-1].name,
        stages=stages,
        services=servers,
        derived=derived,
        packages=lock.packages,
        unpinned=lock.unpinned,
    )
