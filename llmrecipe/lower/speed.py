"""What of `training` buys speed or memory -> keyword arguments of the trainer's configuration class."""

from pydantic import JsonValue

from llmrecipe import facts
from llmrecipe.methods import Method
from llmrecipe.recipe.training import CheckpointingOptions, Training


def speed(training: Training, method: Method) -> dict[str, JsonValue]:
    """Checkpointing, offloading, compilation, TF32, kernels and the order of rows; nothing where a default is meant."""
    found = _checkpointing(training.gradient_checkpointing)
    if "activation_offloading" in facts.trainer_fields(method.config) and training.activation_offloading:
        found["activation_offloading"] = True
    if training.torch_compile:
        found["torch_compile"] = True
    if training.tf32 is not None:
        found["tf32"] = training.tf32
    if training.kernels == "liger":
        # The model's own forward pass stays: the loss is fused in it already.
        own: dict[str, JsonValue] = {"fused_linear_cross_entropy": False, "cross_entropy": False}
        found |= {"use_liger_kernel": True, "liger_kernel_config": own}
    if training.group_by_length:
        found["train_sampling_strategy"] = "group_by_length"
    return found


def _checkpointing(wanted: bool | CheckpointingOptions) -> dict[str, JsonValue]:
    if isinstance(wanted, bool):
        return {"activation_checkpointing": wanted}
    options: dict[str, JsonValue] = dict(wanted.model_dump(exclude_defaults=True))
    if not options:
        return {"activation_checkpointing": True}
    return {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False, **options}}
