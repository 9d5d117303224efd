"""`training`: batch, length, optimizer, schedule, steps, checkpoints and seed, in the words of TRL."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from llmrecipe.optimization import AdamW, Optimizer, Schedule
from llmrecipe.schema import PositiveInt, Section
from llmrecipe.watching import Watchdog


class Checkpoints(Section):
    """When the state of training is saved, and how much of it is kept."""

    save_steps: PositiveInt = 500
    """Optimizer steps between checkpoints. The last step always has one until the stage ends."""
    save_total_limit: PositiveInt = 2
    """Newest checkpoints kept while training runs."""


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
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    optimizer: Optimizer = AdamW(kind="adamw")
    schedule: Schedule | None = None
    """How the learning rate moves. Left out: `cosine` with `warmup_ratio: 0.03`."""
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
