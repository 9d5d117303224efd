"""`model.base.merge` -> the stage that makes the base of a recipe out of several models."""

from collections.abc import Callable, Mapping

from llmrecipe.lock import part_at
from llmrecipe.plan import Combine, Combined, InputModel, ModelOrigin
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.combination import Combination, SlerpMerge, SparsePart, WeightedPart
from llmrecipe.vocabulary import Full, Head, ModelReference, RecipeReference

Pin = Callable[[Recipe, str, ModelReference, tuple[str | int, ...]], ModelOrigin]
"""(recipe that says it, input name, reference, where it is written) -> where the model comes from."""


def adapter_alone(recipe: Recipe) -> bool:
    """Whether a recipe exports an adapter that is not merged."""
    return recipe.method is not None and not isinstance(recipe.model.adapter, Full) and not recipe.export.merge


def combine(recipe: Recipe, base: Combination, known: Mapping[str, Recipe], pin: Pin) -> tuple[Combine, dict[str, str]]:
    """The spec of the stage, without its head, and its inputs."""
    inputs: dict[str, str] = {}

    def one(place: str, reference: ModelReference) -> Combined:
        name = place.replace(".", "_")
        if not isinstance(reference, RecipeReference):
            return Combined(model=pin(recipe, name, reference, part_at(place)))
        inputs[name] = f"{reference.name}/export.model"
        origin = known[reference.name]
        if not adapter_alone(origin):
            return Combined(model=InputModel(kind="input", name=name))
        under = origin.model.base
        if isinstance(under, Combination):
            inputs[f"{name}_base"] = f"{origin.name}/combine.model"
            return Combined(model=InputModel(kind="input", name=f"{name}_base"), adapter=name)
        if isinstance(under, RecipeReference):
            inputs[f"{name}_base"] = f"{under.name}/export.model"
        assert isinstance(under, str | RecipeReference)
        return Combined(model=pin(origin, f"{name}_base", under, ("model", "base")), adapter=name)

    found = {place: one(place, reference) for place, reference in base.parts().items()}
    merge = base.merge
    models = []
    for i, part in enumerate(merge.models):
        update: dict[str, float] = {}
        if isinstance(part, WeightedPart):
            update["weight"] = part.weight
        if isinstance(part, SparsePart):
            update["density"] = part.density
        models.append(found[f"models.{i}"].model_copy(update=update))
    spec = Combine(
        kind="combine",
        method=merge.kind,
        models=models,
        base=found.get("base"),
        t=merge.t if isinstance(merge, SlerpMerge) else None,
        normalize=not isinstance(merge, SlerpMerge) and merge.normalize,
        seed=getattr(merge, "seed", 0),
        head=head(recipe, known),
        trust_remote_code=recipe.model.trust_remote_code,
    )
    return spec, inputs


def head(recipe: Recipe, known: Mapping[str, Recipe]) -> Head:
    """What a model ends in: what the nearest method says on the way to its base; of a merge, its first model."""
    while recipe.method is None:
        base: object = recipe.model.base
        if isinstance(base, Combination):
            base = base.merge.models[0].model
        if not isinstance(base, RecipeReference):
            return "causal"
        recipe = known[base.name]
    return recipe.method.head
