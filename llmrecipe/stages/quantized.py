"""Bases that are held in 8 or 4 bits while an adapter is trained; apart, since `bitsandbytes` takes seconds to load."""

import importlib
import os
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from llmrecipe.plan import Train
from llmrecipe.stages import loading
from llmrecipe.stages.place import StageError
from llmrecipe.vocabulary import NF4, Int8


def options(spec: Train) -> dict[str, Any]:
    """What `from_pretrained` is told, so that it quantizes the weights while it reads them.

    Raises:
        StageError: bitsandbytes is not installed.
    """
    match spec.quantization:
        case Int8():
            config = BitsAndBytesConfig(load_in_8bit=True)
        case NF4() as nf4:
            config = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=nf4.double_quantization,
                bnb_4bit_compute_dtype=_precision(spec) if nf4.compute_dtype == "auto" else nf4.compute_dtype,
                bnb_4bit_quant_storage=nf4.quant_storage,
            )
        case _:
            return {}
    _library()
    return {"quantization_config": config, "device_map": {"": _device()}}


def prepare(model: Any, spec: Train) -> None:
    """Make a model that was just read ready to be trained on.

    Norms stay in the type of the checkpoint: they compute in float32 by themselves, and their result would carry that
    type through every layer. Without mixed precision, all that is not quantized computes in float32.
    """
    guard(model)
    forget_inputs()
    if _precision(spec) == "float32":
        for parameter in model.parameters():
            if parameter.is_floating_point() and type(parameter) is torch.nn.Parameter:
                parameter.data = parameter.data.float()


def restore_adapter(model: Any, spec: Train) -> None:
    """Hold what is trained in float32; trainers of TRL round it to bfloat16, in which small steps get lost.

    FSDP splits weights of one type only, so that there the adapter keeps the type of the others.
    """
    if spec.distributed.kind == "fsdp":
        return
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def guard(model: Any) -> None:
    """Keep layers of 4 bits from being packed for inference on a processor.

    bitsandbytes 0.50.2 packs them at the first forward pass in evaluation mode, on processors with AVX512-BF16. The
    packed product has no gradient: every step after a validation would train the adapter as if the layers above it
    ended there, without a word.
    """
    kind = _library().nn.Linear4bit
    for module in model.modules():
        if isinstance(module, kind):
            module.support_avx512bf16_for_cpu = False


def forget_inputs() -> None:
    """Keep products with 8 bits from holding their inputs, which only the gradient of a trained weight would need.

    bitsandbytes 0.50.2 holds them as attributes of the graph: neither the backward pass nor gradient checkpointing lets
    go of those, so that a checkpointed model keeps the inputs of all its layers all the same.
    """
    product = importlib.import_module("bitsandbytes.autograd._functions").MatMul8bitLt
    plain = product.forward
    if hasattr(plain, "plain"):
        return

    def forward(ctx: Any, *inputs: Any) -> Any:
        found = plain(ctx, *inputs)
        if not ctx.needs_input_grad[1]:
            ctx.tensors, ctx.tensor_states = (None, None, None), (None, None)
        return found

    forward.plain = plain  # type: ignore[attr-defined]
    product.forward = staticmethod(forward)


def refuse(model: Any, what: str) -> None:
    """See that the weights of a model are not quantized already.

    Raises:
        StageError: they are.
    """
    if getattr(model, "is_quantized", False) or getattr(model.config, "quantization_config", None):
        raise StageError(
            f"{what} is quantized already: what is learned on it cannot be added to its weights exactly",
            "start from the checkpoint in 16 bits, and say how to hold it with `model.quantization`",
        )


def _precision(spec: Train) -> str:
    return "bfloat16" if spec.arguments.get("bf16") else "float16" if spec.arguments.get("fp16") else "float32"


def _device() -> torch.device:
    found = loading.device()
    return found if found.type == "cpu" else torch.device(found.type, int(os.environ.get("LOCAL_RANK", "0")))


def _library() -> Any:
    try:
        return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise StageError(
            "`model.quantization` needs the package bitsandbytes", 'install it: `pip install "llmrecipe[quantization]"`'
        ) from error
