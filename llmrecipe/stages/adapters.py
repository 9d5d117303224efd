"""Adapters on models: new ones, and trained ones. Apart from loading.py since `peft` takes a second to import."""

from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import set_seed

from llmrecipe.stages.loading import reason
from llmrecipe.stages.place import StageError
from llmrecipe.vocabulary import DoRA, LoRA


def configuration(adapter: LoRA | DoRA) -> LoraConfig:
    """What PEFT calls it."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        use_dora=isinstance(adapter, DoRA),
        **adapter.model_dump(exclude={"kind", "modules_to_save"}),
        modules_to_save=adapter.modules_to_save or None,
    )


def with_new_adapter(model: Any, adapter: LoRA | DoRA, seed: int) -> Any:
    """The model with an adapter that changes nothing yet; the rest of it is frozen.

    Raises:
        StageError: the adapter names modules that the model lacks.
    """
    set_seed(seed)
    try:
        return get_peft_model(model, configuration(adapter))
    except ValueError as error:
        raise StageError(f"the adapter does not fit the model: {reason(error)}", "change `model.adapter`") from error


def with_adapter(model: Any, folder: Path) -> Any:
    """The model with a trained adapter.

    Raises:
        StageError: the adapter does not fit the model.
    """
    try:
        return PeftModel.from_pretrained(model, str(folder))
    except (RuntimeError, ValueError) as error:
        raise StageError(
            f"the adapter does not fit the base model: {reason(error)}", "use the base that it was trained on"
        ) from error
