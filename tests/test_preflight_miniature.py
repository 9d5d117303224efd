"""Tiny models that stand for others: narrow, and sound whatever the others are like."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from llmrecipe.preflight.miniature import HEADS, WIDTH, shrunk


@pytest.mark.parametrize(
    ("heads", "groups"), [(1, 1), (2, 1), (2, 2), (3, 3), (4, 2), (8, 2), (8, 6), (12, 12), (14, 2), (32, 8), (71, 1)]
)
@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_heads_of_any_number_shrink_to_some_that_share_their_keys_evenly(family: str, heads: int, groups: int) -> None:
    config = AutoConfig.for_model(family, hidden_size=16 * heads, head_dim=16, num_attention_heads=heads,
                                  num_key_value_heads=groups, num_hidden_layers=3, vocab_size=100)  # fmt: skip
    small = shrunk(config)
    assert small.hidden_size == min(WIDTH, 16 * heads)
    assert small.num_attention_heads == min(HEADS, heads)
    assert small.num_attention_heads % small.num_key_value_heads == 0
    assert AutoModelForCausalLM.from_config(small)(torch.arange(5)[None]).logits.shape == (1, 5, 100)
