"""How models are split over processes, and which cannot be; what the rules say of families is what is so."""

from types import SimpleNamespace
from typing import Any

import pytest
import small
import torch

from llmrecipe.facts import architectures, families
from llmrecipe.stages import adapters, strategy
from llmrecipe.stages.place import StageError
from llmrecipe.strategies import FSDP
from llmrecipe.trainers import context_parallel, tensor_parallel
from llmrecipe.trainers.staged import Staged
from llmrecipe.vocabulary import LoRA

CAUSAL = [name for name in families() if architectures()[name].head == "causal"]


@pytest.mark.parametrize("family", CAUSAL)
def test_the_table_knows_which_families_can_be_split(family: str) -> None:
    if not architectures()[family].splits:
        with pytest.raises(StageError, match=r"does not know how to split|cannot be saved"):
            tensor_parallel.plan_of(small.model(family), 2)
    else:
        assert tensor_parallel.plan_of(small.model(family), 2)


@pytest.mark.parametrize("family", CAUSAL)
def test_the_table_knows_which_families_can_have_their_sequences_shared_out(family: str) -> None:
    if not architectures()[family].shares:
        # Of experts the balance is measured over a batch, which is no matter of attention.
        with pytest.raises(StageError) if family != "qwen3_moe" else pytest.MonkeyPatch.context():
            context_parallel.check(small.model(family))
    else:
        context_parallel.check(small.model(family))


def test_a_weight_that_is_tied_is_split_once() -> None:
    plan = tensor_parallel.plan_of(small.model(tie_word_embeddings=True), 2)
    assert "lm_head.weight" not in plan
    assert plan["model.embed_tokens.weight"] == "embedding_rowwise"
    assert plan["lm_head"] == "colwise_gather_output"


def test_an_adapter_is_split_on_the_side_on_which_its_layer_is() -> None:
    adapter = LoRA(kind="lora", r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"])
    plan = tensor_parallel.plan_of(adapters.with_new_adapter(small.model(), adapter, 0, "causal"), 2)
    layer = {name.removeprefix("model.layers.0."): style for name, style in plan.items() if ".layers.0." in name}
    assert layer["self_attn.q_proj.base_layer"] == layer["self_attn.q_proj.lora_B.default"] == "colwise"
    assert layer["mlp.down_proj.base_layer"] == layer["mlp.down_proj.lora_A.default.weight"] == "rowwise"
    assert not layer.keys() & {"self_attn.q_proj", "self_attn.q_proj.lora_A.default", "mlp.down_proj.lora_B.default"}
    assert layer["self_attn.k_proj"] == "colwise"


def test_heads_that_cannot_be_shared_out_are_refused() -> None:
    with pytest.raises(StageError, match="`tensor_parallel_size: 3` does not divide the 4 `num_attention_heads`"):
        tensor_parallel.plan_of(small.model(), 3)


def test_attention_that_drops_is_not_computed_over_shares() -> None:
    model = small.model()
    model.config.attention_dropout = 0.1
    with pytest.raises(StageError, match=r"drops 0\.1 of its attention"):
        context_parallel.check(model)


@pytest.mark.parametrize("degree", ["tensor_parallel_size", "context_parallel_size"])
def test_a_loss_that_is_not_understood_is_not_split(degree: str) -> None:
    trainer = SimpleNamespace(model=small.model(), ours=False)
    with pytest.raises(StageError, match="the loss of Qwen3ForCausalLM"):
        strategy.split(trainer, FSDP(kind="fsdp", **{degree: 2}))


class Shared(Staged):
    """Four processes, two and two of which see the same rows."""

    def __init__(self, remainder: int) -> None:
        state = SimpleNamespace(end_of_dataloader=True, remainder=remainder)
        found = torch.tensor([1.0, 1, 3, 3, 5, 5, 5, 5])
        self.accelerator: Any = SimpleNamespace(gather=lambda losses: found, gradient_state=state)

    def get_tp_size(self) -> int:
        return 1

    def get_cp_size(self) -> int:
        return 2


@pytest.mark.parametrize(("remainder", "expected"), [(0, [2, 2, 5, 5]), (3, [2, 2, 5])])
def test_losses_of_processes_with_the_same_rows_are_one(remainder: int, expected: list[float]) -> None:
    assert Shared(remainder)._of_different_rows(torch.zeros(2)).tolist() == expected
