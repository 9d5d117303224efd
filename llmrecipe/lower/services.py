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
from llmrecipe.vocabulary import DoRA, Full, LoRA, RecipeReference

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
                    adapters={reference.name: f"{reference.name}/export.model" for reference in serving.adapters},
                    served_model_name=serving.served_model_name or recipe.name,
                    arguments=given | _adapter_options(serving, known) | serving.extra,
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


RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM makes room for."""


def exported_rank(adapter: LoRA | DoRA) -> int:
    """The largest rank of an adapter as it is exported."""
    rank = max([adapter.r, *adapter.rank_pattern.values()])
    return 2 * rank if adapter.init_lora_weights.startswith(("pissa", "olora")) else rank


def _adapter_options(serving: VLLM, known: Mapping[str, Recipe]) -> dict[str, JsonValue]:
    """What vLLM has to know of adapters before it starts."""
    found = [known[reference.name].model.adapter for reference in serving.adapters]
    if not found:
        return {}
    rank = max(exported_rank(adapter) for adapter in found if not isinstance(adapter, Full))
    room = next((size for size in RANKS if size >= rank), rank)
    return {"enable_lora": True, "max_lora_rank": room, "max_loras": len(found)}


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
