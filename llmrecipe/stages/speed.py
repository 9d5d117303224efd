"""What a model needs before training so that the options of speed and memory do what they say."""

import importlib
from typing import Any, cast

from trl.models.selective_activation_checkpointing import enable_selective_activation_checkpointing

from llmrecipe.plan import Train
from llmrecipe.stages.place import StageError

LIGER = "liger_kernel.transformers.monkey_patch"


def prepare(spec: Train, model: Any) -> None:
    """See that Liger has kernels for this model, and let checkpoints keep the results of attention where asked for.

    Raises:
        StageError: Liger is not installed, or would do nothing for this model without a word.
    """
    if spec.arguments.get("use_liger_kernel"):
        _check_liger(model)
    options = cast(dict[str, Any], spec.arguments.get("activation_checkpointing_kwargs") or {})
    if options.get("selective"):  # TRL's trainer of supervised fine-tuning does so itself; no other does.
        enable_selective_activation_checkpointing(model)


def _check_liger(model: Any) -> None:
    try:
        known = importlib.import_module(LIGER).MODEL_TYPE_TO_APPLY_LIGER_FN
    except ImportError as error:
        raise StageError(
            "`training.kernels: liger` needs the package liger-kernel",
            "pip install 'llmrecipe[liger]', or leave out `kernels`",
        ) from error
    kind = model.config.get_text_config().model_type
    if kind not in known:
        raise StageError(f"Liger has no kernels for models of the family `{kind}`", "leave out `training.kernels`")
