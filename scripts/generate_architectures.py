"""The installed Transformers' models -> facts/architectures.json: what their modules are called and what they can do.

Each model is built on the meta device, as wide as its configuration class says and a few layers deep, and read. What
imports PEFT is imported late: bitsandbytes warns then of kernels, which `generate.py` silences first.
"""

import importlib
import importlib.metadata
import json
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
from transformers.distributed import DistributedConfig
from transformers.pytorch_utils import Conv1D

LAYERS = 6
"""Enough for one of each kind where kinds take turns."""

Settings = dict[str, Any]
Row = dict[str, Any]

CAUSAL: dict[str, tuple[Settings, ...]] = {
    "apertus": ({},), "arcee": ({},), "bloom": ({},), "codegen": ({},), "cohere": ({}, {"use_qk_norm": True}),
    "cohere2": ({},), "deepseek_v2": ({}, {"q_lora_rank": None}), "deepseek_v3": ({}, {"q_lora_rank": None}),
    "ernie4_5": ({},), "ernie4_5_moe": ({},), "exaone4": ({},), "falcon": ({}, {"new_decoder_architecture": True}),
    "gemma": ({},), "gemma2": ({},), "gemma3_text": ({},), "glm": ({},), "glm4": ({},),
    "glm4_moe": ({}, {"use_qk_norm": True}), "gpt2": ({},), "gpt_bigcode": ({},), "gpt_neox": ({},), "gpt_oss": ({},),
    "gptj": ({},), "granite": ({},), "granitemoe": ({},), "helium": ({},), "hunyuan_v1_dense": ({"head_dim": 128},),
    "lfm2": ({"full_attn_idxs": [1, 3, 5]},), "llama": ({},), "ministral3": ({},), "mistral": ({},), "mixtral": ({},),
    "mpt": ({},), "nemotron": ({"num_key_value_heads": 8},), "olmo": ({},), "olmo2": ({},), "olmo3": ({},),
    "olmoe": ({},), "opt": ({}, {"word_embed_proj_dim": 512}), "phi": ({}, {"qk_layernorm": True}), "phi3": ({},),
    "phimoe": ({},), "qwen2": ({},), "qwen2_moe": ({},), "qwen3": ({},), "qwen3_5_moe_text": ({},),
    "qwen3_5_text": ({},), "qwen3_moe": ({},), "qwen3_next": ({},), "seed_oss": ({},),
    "smollm3": ({},), "stablelm": ({}, {"qk_layernorm": True}), "starcoder2": ({},),
}  # fmt: skip
"""Families of decoders, each with settings of its configuration beside the defaults. Several, where names depend on
them: those of all count. One that is not empty, where the defaults leave open what the class needs."""

MASKED: dict[str, tuple[Settings, ...]] = {
    "albert": ({},), "bert": ({},), "camembert": ({},), "deberta-v2": ({},), "distilbert": ({},), "electra": ({},),
    "eurobert": ({},), "modernbert": ({},), "mpnet": ({},), "roberta": ({},), "xlm-roberta": ({},),
}  # fmt: skip
"""Families of encoders, likewise."""


def architectures() -> str:
    """The table of every family in CAUSAL and MASKED, with the versions that it was read from."""
    versions = {name: importlib.metadata.version(name) for name in ("transformers", "peft")}
    tables = (("causal", CAUSAL, AutoModelForCausalLM), ("masked", MASKED, AutoModelForMaskedLM))
    # Defaults name special tokens beyond their own vocabulary, and plans hold rules for layers that are not there.
    logging.disable(logging.WARNING)
    rows = {
        model_type: _merged([_row(built(model_type, auto, settings), head) for settings in variants])
        for head, families, auto in tables
        for model_type, variants in families.items()
    }
    logging.disable(logging.NOTSET)
    written = ",\n".join(
        f"    {json.dumps(model_type)}: {{\n"
        + ",\n".join(f"      {json.dumps(name)}: {json.dumps(value)}" for name, value in row.items() if value)
        + "\n    }"
        for model_type, row in sorted(rows.items())
    )
    return f'{{\n  "versions": {json.dumps(versions)},\n  "families": {{\n{written}\n  }}\n}}\n'


def built(model_type: str, auto: Any, settings: Settings) -> Any:
    """A model without memory."""
    config = AutoConfig.for_model(model_type, num_hidden_layers=LAYERS, **settings)
    with torch.device("meta"):
        return auto.from_config(config)


def _merged(rows: list[Row]) -> Row:
    """The first row, with the names that others have beyond it."""
    merged, *others = rows
    for row in others:
        for name, value in row.items():
            if isinstance(value, list):
                merged[name] = list(dict.fromkeys([*merged[name], *value]))
    return merged


def _row(model: Any, head: str) -> Row:
    modules = [(name, module) for name, module in model.named_modules() if name and not _last(name).isdigit()]
    output = model.get_output_embeddings()
    linear = [(name, module) for name, module in modules if isinstance(module, nn.Linear | Conv1D)]
    tables = [(name, module) for name, module in modules if isinstance(module, nn.Embedding)]
    embeddings = [name for name, _ in sorted(tables, key=lambda pair: pair[1] is not model.get_input_embeddings())]
    norms = [name for name, module in modules if "Norm" in type(module).__name__]
    convolutions = [name for name, module in modules if isinstance(module, nn.Conv1d)]
    named = {name for name, _ in linear} | {*embeddings, *norms, *convolutions}
    classes = {type(module) for name, module in model.named_modules() if name}
    return {
        "head": head,
        "config": type(model.config).__name__,
        "model": type(model).__name__,
        "wrapped": sorted({made.__name__ for made in classes} & set(model._no_split_modules or ())),
        "linear": _words(name for name, _ in linear if _in_a_layer(name)),
        "outside": _words(name for name, module in linear if not _in_a_layer(name) and module is not output),
        "embeddings": _words(embeddings),
        "output": _words(name for name, module in linear if module is output)[0],
        "norms": _words(norms),
        "convolutions": _words(convolutions),
        "experts": list(_experts(model)),
        "renamed": _renamed(model.config.model_type),
        "parts": _words(name for name, _ in modules if name not in named),
        "classes": sorted(made.__name__ for made in classes if made.__module__.startswith("transformers.models.")),
        "biases": _words(name.removesuffix(".bias") for name, _ in model.named_parameters() if "bias" in _last(name)),
        "attention": _attention(model),
        "sliding": _sliding(model.config),
        "positions": _positions(model),
        "tied": output.weight is model.get_input_embeddings().weight,
        "splits": _splits(model),
        "shares": head == "causal" and _shares(model),
    }


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _words(names: Iterable[str]) -> list[str]:
    """Names without what leads to them, each once."""
    return list(dict.fromkeys(_last(name) for name in names))


def _in_a_layer(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def _experts(model: Any) -> Iterator[str]:
    """Weights of all experts of a layer in one tensor, from the layer on. Kernels of convolutions are no experts."""
    found = {}
    for path, module in model.named_modules():
        if not isinstance(module, nn.Conv1d):
            for name, weight in module.named_parameters(recurse=False):
                if weight.dim() == 3:
                    found[re.sub(r"^.*?\.\d+\.", "", f"{path}.{name}")] = True
    return iter(found)


def _renamed(model_type: str) -> dict[str, str]:
    """Layers before Transformers 5 that PEFT takes for the weights that they have become a part of."""
    conversion = importlib.import_module("peft.utils.transformers_weight_conversion")
    pattern = conversion._MODEL_TO_CONVERSION_PATTERN.get(model_type)
    if pattern is None or conversion.get_checkpoint_conversion_mapping(model_type) is None:
        return {}
    return dict(conversion._MOE_TARGET_MODULE_MAPPING.get(pattern, {}))


def _attention(model: Any) -> list[str]:
    others = model._compatible_flash_implementations  # In whose place Transformers takes the first of these.
    flash = "flash" if others is None or "flash_attention_2" in others else "kernel"
    flags = {"sdpa": "_supports_sdpa", flash: "_supports_flash_attn", "flex": "_supports_flex_attn"}
    return [name for name, flag in flags.items() if getattr(model, flag)]


def _sliding(config: Any) -> str | None:
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return "some" if any("sliding" in kind for kind in kinds) else None
    return "all" if getattr(config, "sliding_window", None) else None


def _positions(model: Any) -> str | None:
    """What the modules say of positions; None where they say nothing, or several things."""
    config, base = model.config, model.base_model
    if any(name.startswith("relative_attention") for name in config.to_dict()):
        return None  # Beside others, or in their place: configurations differ.
    rows = {module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)}
    longest = getattr(config, "max_position_embeddings", 0)
    found = {
        "rotary": any(name.endswith("inv_freq") for name, _ in model.named_buffers()) or hasattr(config, "rotary_dim"),
        "table": not rows.isdisjoint({longest, longest + 2}),  # OPT keeps two rows for itself.
        "alibi": any("alibi" in name for name in dir(type(base))),
    }
    kinds = [kind for kind, is_so in found.items() if is_so]
    return kinds[0] if len(kinds) == 1 else None


def _splits(model: Any) -> bool:
    """Whether there is a plan for the weights of its layers, all of whose ways a checkpoint can hold."""
    if not model.tp_plan:
        return False
    plan, _, _ = model._resolve_parallel_plans(DistributedConfig(tp_size=2))
    laid_out = importlib.import_module("llmrecipe.trainers.tensor_parallel").LAID_OUT
    return any(_in_a_layer(name) for name in plan) and set(plan.values()) <= laid_out


def _shares(model: Any) -> bool:
    """Whether attention over shares of a sequence is that of its layers, unless a setting gives all of them a window.

    It is, where a token sees all before it, in modules that Accelerate looks for. Experts are balanced over whole rows.
    """
    kinds = set(getattr(model.config, "layer_types", None) or ()) - {"full_attention"}
    found = any(name.endswith("self_attn") for name, _ in model.named_modules())
    return found and not kinds and not any(_experts(model))
