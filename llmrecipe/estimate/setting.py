"""What of a recipe decides how much memory its training takes, with every default filled in."""

from collections.abc import Mapping
from dataclasses import dataclass

from llmrecipe.estimate import shape as shapes
from llmrecipe.estimate.shape import Shape
from llmrecipe.facts import accelerators
from llmrecipe.methods import Method
from llmrecipe.methods.online import OnlineMethod
from llmrecipe.optimization import Optimizer
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.training import CheckpointingOptions
from llmrecipe.strategies import FSDP, DeepSpeed, Distributed, Single, together
from llmrecipe.vocabulary import Adapter, Attention, Dtype, Full, Quantization, RecipeReference

PAIRS = ("dpo", "orpo", "cpo", "reward")
"""Methods of which a row is two sequences."""


_SINGLE = Single(kind="single")


@dataclass(frozen=True)
class Setting:
    """One training, on one device of it."""

    shape: Shape
    method: Method
    weights: Dtype
    """Type in which weights are held."""
    compute: Dtype
    """Type in which layers multiply; another than `weights` is autocast."""
    adapter: Adapter
    quantization: Quantization
    optimizer: Optimizer
    attention: Attention
    packed: bool
    rows: int
    """Rows of one forward pass of one device."""
    length: int
    """Tokens of the longest sequence."""
    accumulation: int
    checkpointing: CheckpointingOptions | None
    offload_activations: bool = False
    compiled: bool = False
    liger: bool = False
    averaged: bool = False
    held: bool = False
    """Whether old data hold the weights (EWC)."""
    strategy: Distributed = _SINGLE
    processes: int = 1
    """Of all nodes."""
    processes_per_node: int = 1
    others: tuple[tuple[str, Shape | None], ...] = ()
    """Other models by their role; no shape where it is unknown."""

    @property
    def adapted(self) -> bool:
        """Whether the base is frozen."""
        return not isinstance(self.adapter, Full)

    @property
    def seen(self) -> Dtype:
        """Type in which layers see their weights: spread ones are gathered in the type of the products."""
        spread = isinstance(self.strategy, FSDP | DeepSpeed) and self.compute != "float32"
        return self.compute if spread else self.weights

    @property
    def mixed(self) -> bool:
        """Whether autocast turns float32 weights into 16 bits for every product."""
        return self.seen == "float32" and self.compute != "float32"

    @property
    def sequences(self) -> int:
        """Sequences of one forward pass that gradients are made of."""
        return self.rows * (2 if self.method.kind in PAIRS else 1)

    @property
    def tokens(self) -> int:
        """Tokens of that pass on one device, all rows being as long as they may be."""
        return self.sequences * self.length // self.context

    @property
    def tensor(self) -> int:
        """Devices over which heads, feed-forward blocks and the vocabulary are split."""
        return self.strategy.tensor_parallel_size if isinstance(self.strategy, FSDP) else 1

    @property
    def context(self) -> int:
        """Devices that share out each sequence."""
        return self.strategy.context_parallel_size if isinstance(self.strategy, FSDP) else 1

    @property
    def learned(self) -> int:
        """Tokens of that pass that may be projected into the vocabulary."""
        if isinstance(self.method, OnlineMethod):
            return self.sequences * min(self.length, self.method.max_completion_length)
        return self.tokens

    @property
    def shards(self) -> int:
        """Devices over which weights and state are spread."""
        match self.strategy:
            case FSDP(sharding="hybrid"):
                return self.processes_per_node
            case FSDP() | DeepSpeed():
                return self.processes
            case _:
                return 1


def of(recipe: Recipe, recipes: Mapping[str, Recipe]) -> Setting | None:
    """The setting of a recipe that trains; None where it does not, or its model is not known offline."""
    method, model, training, hardware = recipe.method, recipe.model, recipe.training, recipe.hardware
    shape = shapes.of_recipe(recipe, recipes)
    if method is None or recipe.data is None or shape is None:
        return None
    spread = not isinstance(recipe.distributed, Single)
    processes = hardware.num_accelerators * hardware.num_nodes if spread else 1
    at_once = max(1, training.per_device_train_batch_size * processes // together(recipe.distributed))
    packing = recipe.data.packing
    plain = packing is None and method.kind == "pretrain" and recipe.data.curriculum is None
    return Setting(
        shape=shape,
        method=method,
        weights=weights_of(recipe, recipes, shape),
        compute=_compute(recipe),
        adapter=model.adapter,
        quantization=model.quantization,
        optimizer=training.optimizer,
        attention=model.attention,
        packed=plain or packing not in (None, "none"),
        rows=training.per_device_train_batch_size,
        length=training.max_length,
        accumulation=max(1, (training.global_batch_size or at_once) // at_once),
        checkpointing=_checkpointing(recipe),
        offload_activations=training.activation_offloading,
        compiled=training.torch_compile,
        liger=training.kernels == "liger",
        averaged=training.averaging is not None,
        held=training.ewc is not None,
        strategy=recipe.distributed,
        processes=processes,
        processes_per_node=hardware.num_accelerators if spread else 1,
        others=tuple((role, shapes.of_reference(ref, recipes)) for role, ref in method.models().items()),
    )


def weights_of(recipe: Recipe, recipes: Mapping[str, Recipe], shape: Shape) -> Dtype:
    """The type of the weights in memory: float32 where all are trained and nothing else is written."""
    if recipe.model.dtype != "auto":
        return recipe.model.dtype
    if isinstance(recipe.model.adapter, Full):
        return "float32"
    return stored(recipe, recipes, shape)


def stored(recipe: Recipe, recipes: Mapping[str, Recipe], shape: Shape) -> Dtype:
    """The type in which the base of a recipe lies on disk: what the recipe before it left, or what was published."""
    base = recipe.model.base
    if isinstance(base, RecipeReference) and base.name in recipes and base.name != recipe.name:
        before = recipes[base.name]
        written = before.export.formats[0].dtype if before.export.formats else None
        return written or weights_of(before, recipes, shape)
    return shape.dtype


def _compute(recipe: Recipe) -> Dtype:
    precision = recipe.training.precision
    if precision != "auto":
        return precision
    preset = accelerators().get(recipe.hardware.accelerator)
    fast = recipe.hardware.accelerator != "cpu" and preset is not None and preset.bfloat16
    return "bfloat16" if fast else "float32"


def _checkpointing(recipe: Recipe) -> CheckpointingOptions | None:
    wanted = recipe.training.gradient_checkpointing
    if isinstance(wanted, CheckpointingOptions):
        return wanted
    by_strategy = isinstance(recipe.distributed, FSDP) and recipe.distributed.activation_checkpointing
    return CheckpointingOptions() if wanted or by_strategy else None
