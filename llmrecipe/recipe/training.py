"""`training`: batch, length, optimizer, schedule, steps, checkpoints and seed, in the words of TRL."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from llmrecipe.optimization import AdamW, Averaging, Best, EarlyStopping, Elastic, Optimizer, Schedule
from llmrecipe.recipe.data import Source
from llmrecipe.schema import PositiveInt, Section
from llmrecipe.watching import Watchdog


class Checkpoints(Section):
    """When the state of training is saved, and how much of it is kept."""

    save_steps: PositiveInt = 500
    """Optimizer steps between checkpoints. The last step always has one until the stage ends."""
    save_total_limit: PositiveInt = 2
    """Newest checkpoints kept while training runs; the best one is kept beside them."""
    best: Best | None = None
    """Give the weights of the best validation instead of the last ones. `{}` compares `eval_loss`."""


class EWC(Elastic):
    """Elastic weight consolidation: learn something new without forgetting what old data taught.

    Source: https://arxiv.org/abs/1612.00796
    """

    data: Annotated[list[Source], Field(min_length=1)]
    """Rows of what is not to be forgotten. How much each weight matters to them is measured before training."""
    max_samples: PositiveInt = 200
    """Sequences of the old data that are measured."""
    fisher: Literal["empirical", "true"] = "empirical"
    """Squared gradients of the log-likelihood of the rows themselves, or of tokens drawn from the model."""


class CheckpointingOptions(Section):
    """What is recomputed in the backward pass, and where the rest is kept."""

    every_n_layers: PositiveInt = 1
    """Recompute one of so many layers; the others keep their activations."""
    selective: bool = False
    """Keep what attention computed and recompute the rest: dearer in memory, cheaper in time at long context."""
    offload: bool = False
    """Keep the inputs of the recomputed layers in the memory of the host."""


Checkpointing = Annotated[
    Annotated[bool, Tag("true or false")] | Annotated[CheckpointingOptions, Tag("options")],
    Discriminator(lambda value: "options" if isinstance(value, dict | CheckpointingOptions) else "true or false"),
]


class Training(Section):
    """How the model is trained."""

    num_train_epochs: Annotated[float, Field(gt=0)] | None = None
    """Passes over the training rows; 1 when neither this nor `max_steps` is written."""
    max_steps: PositiveInt | None = None
    """Optimizer steps, instead of `num_train_epochs`."""
    per_device_train_batch_size: PositiveInt = 8
    """Sequences of one forward pass of one process."""
    per_device_eval_batch_size: PositiveInt = 8
    """Sequences of one forward pass of one process in a validation."""
    global_batch_size: PositiveInt | None = None
    """Sequences of one optimizer step over all processes. Gradient accumulation is derived from it."""
    max_length: PositiveInt = 1024
    """Longest sequence, in tokens; longer rows are cut at the end, and the data report counts them."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Peak learning rate. Left out: the method's own (see its page), ten times that for an adapter."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of every weight that a step takes away, times the learning rate; not of norms and biases."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are scaled down to this norm; 0 switches clipping off."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of forward and backward. `auto`: `bfloat16` when `hardware.accelerator` has it, else `float32`."""
    gradient_checkpointing: Checkpointing = False
    """Recompute activations in the backward pass: less memory, about a third more time. Or `{...}` with options."""
    activation_offloading: bool = False
    """Keep activations in the memory of the host between forward and backward pass."""
    torch_compile: bool = False
    """Compile the model: faster steps, after minutes of compiling. Needs a C++ compiler."""
    tf32: bool | None = None
    """Whether a GPU may round the factors of `float32` products to 10 bits. Left out: as PyTorch does, which is not."""
    kernels: Literal["none", "liger"] = "none"
    """Fused Triton kernels of norms, rotary positions and feed-forward blocks. Source: https://arxiv.org/abs/2410.10989

    The loss is fused with or without them.
    """
    group_by_length: bool = False
    """Put rows of similar length into a batch: less padding, and an order that is a little less random."""
    optimizer: Optimizer = AdamW(kind="adamw")
    schedule: Schedule | None = None
    """How the learning rate moves. Left out: `cosine` with `warmup_ratio: 0.03`."""
    averaging: Averaging | None = None
    """An average of the weights over training, which is validated and given instead of the last ones."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each target that is spread evenly over the vocabulary. Source: https://arxiv.org/abs/1512.00567"""
    neftune_noise_alpha: Annotated[float, Field(gt=0)] | None = None
    """Noise on the embeddings of training rows. Source: https://arxiv.org/abs/2310.05914"""
    ewc: EWC | None = None
    """Do not forget old data."""
    early_stopping: EarlyStopping | None = None
    """End training when validations get no better. `{}` stops after three without a lower `eval_loss`."""
    checkpoints: Checkpoints = Checkpoints()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Seed of initial weights, data order and dropout."""
    logging_steps: PositiveInt = 10
    """Optimizer steps between lines of the log."""
    eval_steps: PositiveInt | None = None
    """Optimizer steps between validations. Left out: once, at the end."""
    dataloader_num_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that load batches beside each training process; 0 loads them in it."""
    watchdog: Watchdog = Watchdog()
    extra: dict[str, JsonValue] = {}
    """Any other field of the trainer's configuration class, by its own name; names and types are checked."""
