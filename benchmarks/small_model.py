"""A small Qwen3 with a byte tokenizer and the ChatML template: `python benchmarks/small_model.py FOLDER`."""

import sys
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer() -> Any:
    """Bytes and three special tokens."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    found = Tokenizer(models.BPE(vocabulary, []))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    found.add_special_tokens(["<pad>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="<pad>", eos_token="<|im_end|>", chat_template=TEMPLATE
    )


def model(hidden_size: int = 128, layers: int = 4) -> Any:
    """Random weights; 0.6 million with the defaults."""
    words = tokenizer()
    config = AutoConfig.for_model(
        "qwen3", vocab_size=len(words), hidden_size=hidden_size, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, head_dim=hidden_size // 4, intermediate_size=3 * hidden_size,
        max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, dtype="float32", attn_implementation="sdpa")


def write(folder: Path, hidden_size: int = 128, layers: int = 4) -> None:
    """Write model and tokenizer."""
    model(hidden_size, layers).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
