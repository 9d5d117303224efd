"""Adapters on models: new ones, and trained ones. Apart from loading.py since `peft` takes a second to import."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils.other import TrainableTokensWrapper
from safetensors.torch import load_file, save_file
from transformers import set_seed

from llmrecipe.stages.loading import reason
from llmrecipe.stages.place import StageError
from llmrecipe.vocabulary import DoRA, Head, LoRA

WEIGHTS, CONFIGURATION = "adapter_model.safetensors", "adapter_config.json"

_TASKS: dict[Head, str | None] = {"causal": "CAUSAL_LM", "masked": None, "reward": "SEQ_CLS"}
_ABSENT = ("exclude_modules", "target_parameters", "modules_to_save", "trainable_token_indices")
"""Options that PEFT wants to be None when they are empty."""


def configuration(adapter: LoRA | DoRA, head: Head = "causal") -> LoraConfig:
    """What PEFT calls it."""
    fields = adapter.model_dump(exclude={"kind", "loraplus_lr_ratio", "init_lora_weights", *_ABSENT})
    return LoraConfig(
        task_type=_TASKS[head],
        use_dora=isinstance(adapter, DoRA),
        init_lora_weights=True if adapter.init_lora_weights == "default" else adapter.init_lora_weights,
        **fields,
        **{name: getattr(adapter, name) or None for name in _ABSENT},
    )


def with_new_adapter(model: Any, adapter: LoRA | DoRA, seed: int, head: Head = "causal") -> Any:
    """The model with an adapter that changes nothing yet; the rest of it is frozen.

    Raises:
        StageError: the adapter names modules that the model lacks.
    """
    set_seed(seed)
    try:
        return get_peft_model(model, configuration(adapter, head))
    except ValueError as error:
        raise StageError(f"the adapter does not fit the model: {reason(error)}", "change `model.adapter`") from error


def complete_head(model: PeftModel) -> None:
    """Give a tied head with trained tokens the bias that TRL's losses ask it for: none.

    PEFT 0.21.2 answers for `weight` alone, with the trained tokens in it.
    """
    output = model.get_output_embeddings()
    if isinstance(output, TrainableTokensWrapper) and getattr(output.original_module, "bias", None) is None:
        output.bias = None


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


# -- initialisations that take their product out of the weights: PiSSA, OLoRA --


def takes_from_weights(adapter: LoRA | DoRA) -> bool:
    """Whether the adapter, as it begins, is a part of the weights, which the rest of the model then lacks."""
    return adapter.init_lora_weights.startswith(("pissa", "olora"))


def save_beginning(model: PeftModel, file: Path) -> None:
    """Write down the two matrices of every update as they begin."""
    matrices = {name: tensor for name, tensor in get_peft_model_state_dict(model).items() if _is_matrix(name)}
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in matrices.items()}, file)


def subtract_beginning(folder: Path, file: Path) -> None:
    """Turn a trained adapter that belongs to the rest of the weights into one for the weights as they were.

    The update since the beginning is `B A - B0 A0`, which is one of twice the rank: `[B, -B0] [A; A0]`. What is left is
    a plain LoRA (or DoRA) that loads on the untouched base everywhere. Source: https://arxiv.org/abs/2404.02948,
    appendix C
    """
    config = json.loads((folder / CONFIGURATION).read_bytes())
    trained, begun = load_file(folder / WEIGHTS), load_file(file)
    # The scale of `lora_alpha / r` is that of before; `lora_alpha / sqrt(r)` has grown by the root of two.
    scale = 2**-0.5 if config["use_rslora"] else 1.0
    for name, start in begun.items():
        now, before = trained[name].float(), start.float()
        if ".lora_A." in name:
            trained[name] = torch.cat([now, before], dim=0)
        else:
            trained[name] = torch.cat([now, -before], dim=1) * scale
    save_file(trained, folder / WEIGHTS, metadata={"format": "pt"})
    config |= {"init_lora_weights": True, "r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"]}
    for pattern in ("rank_pattern", "alpha_pattern"):
        config[pattern] = {name: 2 * value for name, value in (config[pattern] or {}).items()}
    (folder / CONFIGURATION).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _is_matrix(name: str) -> bool:
    return ".lora_A." in name or ".lora_B." in name
