"""What a step costs, and what it costs to know it."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import small
import torch

from llmrecipe import estimate
from llmrecipe.stages import adapters
from llmrecipe.trainers.telemetry import Telemetry, flops_per_token, memory, peak_of, span
from llmrecipe.vocabulary import LoRA


def test_a_trained_weight_counts_six_a_frozen_one_four_and_a_table_nothing() -> None:
    model = small.model()
    numbers = sum(p.numel() for p in model.parameters())
    assert flops_per_token(model, 0, causal=True) == 6 * numbers  # The head is the table.
    untied = small.model(tie_word_embeddings=False)
    table = untied.get_input_embeddings().weight.numel()
    assert flops_per_token(untied, 0, causal=True) == 6 * (sum(p.numel() for p in untied.parameters()) - table)
    adapted = adapters.with_new_adapter(small.model(), LoRA(kind="lora", r=4), 0, "causal")
    new = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert flops_per_token(adapted, 0, causal=True) == 4 * numbers + 6 * new


def test_attention_grows_with_the_length_and_is_half_when_it_looks_back() -> None:
    model = small.model()
    base = flops_per_token(model, 0, causal=True)
    assert flops_per_token(model, 100, causal=True) - base == 6 * 2 * (4 * 8) * 100
    assert flops_per_token(model, 100, causal=False) - base == 12 * 2 * (4 * 8) * 100


def test_operations_agree_with_those_that_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    model, length = small.model(attention="eager", tie_word_embeddings=True), 64
    ids = torch.arange(2 * length).view(2, length) % 250
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    # Eager attention computes the scores that a causal mask throws away.
    assert counter.get_total_flops() / (2 * length) == pytest.approx(flops_per_token(model, length, False), rel=0.02)


def test_quantized_and_sharded_tensors_count_as_what_they_stand_for() -> None:
    packed = torch.nn.Parameter(torch.zeros(8), requires_grad=False)
    packed.quant_state = SimpleNamespace(shape=torch.Size((4, 4)))
    elsewhere = torch.nn.Parameter(torch.zeros(0))
    elsewhere.ds_numel = 10
    module = torch.nn.ParameterList([packed, elsewhere])
    assert flops_per_token(module, 100, causal=True) == 4 * 16 + 6 * 10


def test_the_length_in_which_a_token_stands() -> None:
    assert span([{"input_ids": [1] * 2}, {"input_ids": [1] * 6}]) == 5.0
    assert span([{"input_ids": [1] * 8, "seq_lengths": [2, 6]}]) == 5.0
    assert span([{"prompt_ids": [1], "chosen_ids": [1], "rejected_ids": [1] * 5}]) == 5.0
    assert span([{"prompt": "x"}]) == 0.0


def test_peaks_are_those_of_the_facts_and_processors_have_none() -> None:
    assert peak_of("h100-80gb") == pytest.approx(989.4e12)
    assert peak_of("cpu") is None
    assert peak_of("no such thing") is None


def test_memory_of_a_processor_is_what_the_process_holds() -> None:
    before = memory(torch.device("cpu"))
    held = torch.ones(64 * 2**20 // 4)
    assert memory(torch.device("cpu")) - before > 32 * 2**20
    del held


class Loop:
    """A trainer whose batches take a while."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        self.lines: list[dict[str, float]] = []

    def get_batch_samples(self, iterator: Any, count: int) -> list[Any]:
        return [next(iterator) for _ in range(count)]

    def log(self, logs: dict[str, float]) -> None:
        self.lines.append(logs)


class Measured(Telemetry, Loop):
    args = SimpleNamespace(device=torch.device("cpu"), world_size=2)
    train_dataset = [{"input_ids": [1] * 10}]


def batches(wait: float, count: int) -> Any:
    for i in range(count):
        time.sleep(wait)
        yield i


def test_waiting_for_data_is_a_share_of_the_time() -> None:
    trainer = Measured(0.0)
    assert trainer.get_batch_samples(batches(0.02, 2), 2) == [0, 1]
    trainer.measured_seconds = 0.08
    trainer.log({"loss": 1.0, "tokens_per_second": 10.0})
    assert trainer.lines[0]["data_loading_share"] == pytest.approx(0.5, abs=0.2)
    assert "mfu" not in trainer.lines[0]
    trainer.log({"loss": 1.0})
    assert trainer.lines[1]["data_loading_share"] == 0.0
    trainer.log({"eval_loss": 1.0})
    assert trainer.lines[2] == {"eval_loss": 1.0}


def test_the_share_of_the_peak_is_over_all_processes() -> None:
    trainer = Measured(0.0)
    trainer.model, trainer.peak = small.model(), 1e9
    trainer.log({"loss": 1.0, "tokens_per_second": 1000.0})
    expected = 1000 * flops_per_token(trainer.model, 10.0, True) / 2e9
    assert trainer.lines[0]["mfu"] == pytest.approx(expected)


def test_experts_count_as_often_as_they_are_used() -> None:
    expert = torch.nn.ModuleDict({"experts": torch.nn.Linear(10, 10, bias=False)})
    model = torch.nn.ModuleDict({"layer": expert})
    text = SimpleNamespace(num_experts=8, num_experts_per_tok=2, num_attention_heads=0, num_hidden_layers=0)
    model.config = SimpleNamespace(get_text_config=lambda: text)
    assert flops_per_token(model, 0, causal=True) == 6 * 100 / 4


def test_measuring_costs_next_to_nothing() -> None:
    """Per step, well below a hundredth of the fastest step that anybody would call one (5 ms)."""
    trainer = Measured(0.0)
    trainer.measured_seconds = 1.0

    def steps(trainer: Any, count: int) -> float:
        iterator = iter(range(count))
        began = time.perf_counter()
        for _ in range(count):
            trainer.get_batch_samples(iterator, 1)
            trainer.log({"loss": 1.0, "tokens_per_second": 1.0})
        return (time.perf_counter() - began) / count

    cost = min(steps(trainer, 200) for _ in range(5)) - min(steps(Loop(0.0), 200) for _ in range(5))
    assert cost < 50e-6


def test_the_estimate_of_the_compiler_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = small.architecture()
    parameters = estimate.parameters(architecture, len(small.tokenizer()))
    assert flops_per_token(small.model(), 0, causal=True) == 6 * parameters
