"""Layers of 8 and 4 bits over fake tensors: the types and sizes that bitsandbytes holds on a GPU, without numbers.

Apart from trace.py, since bitsandbytes takes seconds to load.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from transformers import BitsAndBytesConfig
from transformers.integrations.bitsandbytes import replace_with_bnb_linear

from llmrecipe.estimate.setting import Setting
from llmrecipe.stages import quantized
from llmrecipe.vocabulary import NF4, Int8

_library: Any = importlib.import_module("bitsandbytes")  # Its types are not declared.
_functional: Any = importlib.import_module("bitsandbytes.functional")
_products: Any = importlib.import_module("bitsandbytes.autograd._functions")
_LAYERS = (_library.nn.Linear4bit, _library.nn.Linear8bitLt)
_DYNAMIC = _functional.name2qmap.setdefault("dynamic", _functional.create_dynamic_map())
"""The code of scales that are quantized themselves; made here, since making it needs numbers."""


def replace_layers(model: Any, setting: Setting) -> None:
    """Replace all linear layers but the head by quantized ones, as `from_pretrained` does, on the meta device."""
    head = model.get_output_embeddings()
    kept = [name for name, module in model.named_modules() if module is head]
    match setting.quantization:
        case NF4() as nf4:
            config = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=nf4.double_quantization,
                bnb_4bit_compute_dtype=setting.compute if nf4.compute_dtype == "auto" else nf4.compute_dtype,
            )
            model.is_loaded_in_4bit = True
        case Int8():
            config = BitsAndBytesConfig(load_in_8bit=True)
            model.is_loaded_in_8bit = True
    replace_with_bnb_linear(model, kept, config)
    model.requires_grad_(False)


def materialize(model: Any) -> list[torch.Tensor]:
    """Give every quantized layer a fake weight; what belongs to them beside the weights, for the tracker to count."""
    beside = []
    for module in model.modules():
        if not isinstance(module, _LAYERS):
            continue
        whole = torch.empty(module.weight.shape, dtype=torch.float16)
        if isinstance(module, _library.nn.Linear4bit):
            nested = module.weight.compress_statistics
            packed, state = _functional.quantize_4bit(whole, compress_statistics=nested, quant_type="nf4")
            module.weight = torch.nn.Parameter(packed, requires_grad=False)
            module.weight.quant_state = module.quant_state = state
            beside += [state.absmax, state.state2.absmax] if nested else [state.absmax]
        else:
            packed, scales, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(whole, 0.0)
            module.weight = torch.nn.Parameter(packed, requires_grad=False)
            module.weight.CB, module.weight.SCB = module.weight.data, scales
            beside.append(scales)
    return beside


def _four_bits(
    inputs: Any, weight: Any, shape: Any, scales: Any, block: int, kind: str, bias: Any = None,
    absmax_8bit: Any = None, absmax_code: Any = None, absmax_offset: Any = None,
) -> Any:  # fmt: skip
    """The product with many rows: CUDA's kernels turn the whole matrix into 16 bits first."""
    if absmax_8bit is not None:
        dequantize = torch.ops.bitsandbytes.dequantize_blockwise.default
        scales = dequantize(absmax_8bit, scales, absmax_code, 256, torch.float32) + absmax_offset
    whole = torch.ops.bitsandbytes.dequantize_4bit.default(weight, scales, block, kind, shape, inputs.dtype)
    return torch.nn.functional.linear(inputs, whole, bias)


ANSWERS: Mapping[Any, Callable[..., Any]] = {torch.ops.bitsandbytes.gemm_4bit.default: _four_bits}
"""Operations that a GPU does in another way than fake tensors are told."""


@contextmanager
def as_on_an_accelerator() -> Iterator[None]:
    """Multiply 8 bits as CUDA's kernels do, in integers; columns that are treated apart are few, and are left out."""

    def product(
        inputs: Any, weight: Any, out: Any = None, state: Any = None, threshold: float = 0, bias: Any = None
    ) -> Any:
        state.threshold = 0.0
        return _products.MatMul8bitLt.apply(inputs, weight, out, bias, state)

    quantized.forget_inputs()
    with mock.patch.object(_library, "matmul", product):
        yield
