"""`serving` -> a service."""

from collections.abc import Mapping

from pydantic import JsonValue

from llmrecipe import estimate
from llmrecipe.plan import Resources, Service
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.combination import Combination
from llmrecipe.recipe.model import FromScratch
from llmrecipe.recipe.serving import VLLM, Transformers
from llmrecipe.recipe.tokenizer import TrainTokenizer
from llmrecipe.vocabulary import RecipeReference

_VLLM_OPTIONS = (
    "tensor_parallel_size",
    "max_model_len",
    "max_num_seqs",
    "gpu_memory_utilization",
    "dtype",
    "enable_prefix_caching",
)


def services(recipe: Recipe, known: Mapping[str, Recipe]) -> list[Service]:
    """The server of a recipe, if it has one. `known` holds the recipes that it may refer to."""
    match recipe.serving:
        case None:
            return []
        case VLLM() as serving:
            options = {name: getattr(serving, name) for name in _VLLM_OPTIONS}
            given: dict[str, JsonValue] = {name: value for name, value in options.items() if value is not None}
            on_cpu = recipe.hardware.accelerator == "cpu"
            return [
                Service(
                    name=recipe.name,
                    recipe=recipe.name,
                    engine="vllm",
                    model=f"{recipe.name}/export.model",
                    served_model_name=serving.served_model_name or recipe.name,
                    arguments=given | serving.extra,
                    api_key=serving.api_key,
                    port=serving.port,
                    image=serving.image,
                    replicas=serving.replicas.min,
                    weight_bytes=weight_bytes(recipe, known),
                    resources=Resources(
                        accelerators=0 if on_cpu else serving.tensor_parallel_size,
                        accelerator=recipe.hardware.accelerator,
                        memory=recipe.hardware.memory,
                    ),
                )
            ]
        case Transformers() as serving:
            return [
                Service(
                    name=recipe.name,
                    recipe=recipe.name,
                    engine="transformers",
                    model=f"{recipe.name}/export.model",
                    served_model_name=recipe.name,
                    arguments={"continuous_batching": serving.continuous_batching},
                    api_key=None,
                    port=serving.port,
                    image=None,
                    replicas=1,
                    weight_bytes=weight_bytes(recipe, known),
                    resources=Resources(accelerator=recipe.hardware.accelerator, memory=recipe.hardware.memory),
                )
            ]


def weight_bytes(recipe: Recipe, known: Mapping[str, Recipe]) -> int | None:
    """Bytes of the exported weights, or nothing when they cannot be known from the recipe alone."""
    base = recipe.model.base
    if isinstance(base, Combination):
        base = base.merge.models[0].model
    match base:
        case RecipeReference():
            return weight_bytes(known[base.name], known) if base.name in known else None
        case FromScratch():
            if not isinstance(recipe.tokenizer, TrainTokenizer):
                return None
            positions = base.architecture.max_position_embeddings or recipe.training.max_length
            shape = base.architecture.model_copy(update={"max_position_embeddings": positions})
            return 4 * estimate.parameters(shape, recipe.tokenizer.vocab_size)
        case str():
            return estimate.weight_bytes(base, recipe.model.dtype)
