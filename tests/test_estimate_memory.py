"""The memory model against the tracker of PyTorch, against what libraries build, and against itself."""

import json
from dataclasses import replace

import pytest
import torch
import transformers
from trl.kernels import chunked_logprob
from trl.trainer import utils

from llmrecipe.cli import main
from llmrecipe.estimate import fitting, loss_head, states
from llmrecipe.estimate.memory import GIB, memory
from llmrecipe.estimate.setting import Setting
from llmrecipe.estimate.shape import Shape, of_facts
from llmrecipe.facts import models
from llmrecipe.methods.dpo import DPO
from llmrecipe.methods.grpo import GRPO
from llmrecipe.methods.reward import Reward
from llmrecipe.methods.sft import SFT
from llmrecipe.optimization import SGD, Adafactor, AdamW, Lion, Muon
from llmrecipe.preflight.trace import TraceError, check, configuration, trace
from llmrecipe.recipe.training import CheckpointingOptions
from llmrecipe.stages import adapters
from llmrecipe.strategies import DDP, FSDP, DeepSpeed
from llmrecipe.trainers import losses
from llmrecipe.vocabulary import NF4, DoRA, Full, Int8, LoRA, Unquantized

SMALL = Shape("llama", 512, 2, 8, 4, 64, 1536, 16000, True, 4096)
QWEN = replace(SMALL, family="qwen3")
MIXTURE = replace(QWEN, family="qwen3_moe", intermediate=0, experts=16, chosen=4, expert_width=384)
LORA = LoRA(kind="lora", r=8)
RECOMPUTED = CheckpointingOptions()

PLAIN = Setting(
    shape=SMALL,
    method=SFT(kind="sft"),
    weights="float32",
    compute="bfloat16",
    adapter=Full(kind="full"),
    quantization=Unquantized(kind="none"),
    optimizer=AdamW(kind="adamw"),
    attention="sdpa",
    packed=False,
    rows=4,
    length=1024,
    accumulation=1,
    checkpointing=None,
)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"checkpointing": RECOMPUTED, "accumulation": 2, "packed": True},
        {"weights": "bfloat16"},
        {"compute": "float32"},
        {"shape": replace(QWEN, tied=False)},
        {"shape": QWEN, "weights": "bfloat16", "adapter": LORA},
        {"weights": "bfloat16", "adapter": LORA, "checkpointing": RECOMPUTED},
        {"weights": "bfloat16", "adapter": LORA, "quantization": NF4(kind="nf4")},
        {"weights": "bfloat16", "adapter": LORA, "quantization": NF4(kind="nf4"), "checkpointing": RECOMPUTED},
        {"weights": "bfloat16", "adapter": LORA, "quantization": Int8(kind="int8"), "checkpointing": RECOMPUTED},
        {"weights": "bfloat16", "adapter": DoRA(kind="dora", r=8)},
        {"shape": MIXTURE, "weights": "bfloat16"},
        {"shape": MIXTURE, "weights": "bfloat16", "adapter": LORA},
        {"shape": MIXTURE, "weights": "bfloat16", "adapter": LoRA(kind="lora", target_modules=["q_proj"])},
        {"method": DPO(kind="dpo")},
        {"method": GRPO(kind="grpo", max_completion_length=512), "length": 512},
    ],
    ids=lambda changed: ", ".join(changed) or "plain",
)
def test_the_peak_is_the_traced_one_within_five_percent(changed) -> None:
    setting = replace(PLAIN, **changed)
    traced = trace(setting)
    ours = max(moment.bytes for moment in memory(setting).moments if moment.name != "generation")
    assert ours == pytest.approx(traced.peak, rel=0.05)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "changed",
    [
        {"strategy": FSDP(kind="fsdp")},
        {"strategy": FSDP(kind="fsdp"), "checkpointing": RECOMPUTED, "rows": 1, "length": 256},
        {"strategy": FSDP(kind="fsdp"), "compute": "float32", "accumulation": 2},
        {"strategy": FSDP(kind="fsdp", sharding="grad"), "rows": 1},
        {"strategy": FSDP(kind="fsdp", sharding="hybrid"), "accumulation": 2},
        {"strategy": FSDP(kind="fsdp", sync_each_batch=False), "accumulation": 2},
        {"strategy": FSDP(kind="fsdp"), "method": DPO(kind="dpo")},
    ],
)
def test_a_share_of_a_model_takes_what_is_traced_within_five_percent(changed, tied) -> None:
    setting = replace(PLAIN, shape=replace(QWEN, layers=4, tied=tied), processes=8, processes_per_node=4, **changed)
    traced, moments = trace(setting), memory(setting).moments
    assert max(moment.bytes for moment in moments) == pytest.approx(traced.peak, rel=0.05)
    assert moments[-1].bytes == pytest.approx(traced.step, rel=0.01)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"method": Reward(kind="reward")}, "reward"),
        ({"strategy": FSDP(kind="fsdp", cpu_offload=True), "processes": 2}, "cpu_offload"),
        ({"strategy": FSDP(kind="fsdp", tensor_parallel_size=2), "processes": 4}, "split"),
        ({"strategy": DeepSpeed(kind="deepspeed"), "processes": 2}, "deepspeed"),
        ({"optimizer": Muon(kind="muon")}, "muon"),
        ({"attention": "flex_attention"}, "flex_attention"),
        ({"shape": MIXTURE}, "mixture of experts in float32"),
        ({"shape": replace(MIXTURE, family="mixtral"), "weights": "bfloat16"}, "`mixtral`"),
    ],
)
def test_what_cannot_be_traced_is_refused(changed, what) -> None:
    with pytest.raises(TraceError, match=what):
        check(replace(PLAIN, **changed))


def test_tiles_are_those_of_the_losses() -> None:
    assert loss_head.TILE_BYTES == losses.ACCELERATOR_TILE_BYTES
    assert loss_head.FEWEST_ROWS == losses.FEWEST_ROWS
    assert loss_head.LIBRARY_ROWS == chunked_logprob.TOKEN_CHUNK_SIZE
    assert loss_head.LIBRARY_WIDTH == utils._CHUNKED_LOGPROB_CHUNK_SIZE


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"target_modules": ["q_proj", "down_proj"]},
        {"target_modules": ["q_proj"]},
        {"target_modules": [], "target_parameters": ["mlp.experts.gate_up_proj"]},
    ],
)
@pytest.mark.parametrize("family", ["qwen3_moe", "mixtral", "gpt_oss"])
def test_an_adapter_of_a_mixture_has_as_many_numbers_as_peft_makes(family, written) -> None:
    adapter = LoRA(kind="lora", r=8, **written)
    shape = replace(MIXTURE, family=family, key_value_heads=8)
    wide = {"moe_intermediate_size": 384, "intermediate_size": 384, "num_experts": 16, "num_local_experts": 16}
    config = transformers.AutoConfig.for_model(family, **configuration(shape, shape.layers) | wide)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
        model = adapters.with_new_adapter(model, adapter, seed=0)
    wanted = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert states.trained(replace(PLAIN, shape=shape, adapter=adapter)) == wanted


@pytest.mark.parametrize("kind", [LoRA, DoRA])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3_text", "gpt2", "falcon"])
def test_an_adapter_has_as_many_numbers_as_peft_makes(family, kind) -> None:
    shape = replace(SMALL, family=family, key_value_heads=8, intermediate=2048)
    adapter = kind(kind=kind.__name__.lower(), r=8)
    config = transformers.AutoConfig.for_model(family, **configuration(shape, shape.layers))
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
        model = adapters.with_new_adapter(model, adapter, seed=0)
    wanted = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert states.trained(replace(PLAIN, shape=shape, adapter=adapter)) == wanted


# -- what is held between steps --


@pytest.mark.parametrize(("stage", "each"), [(1, 2 + 2 + 12 / 8), (2, 2 + 2 / 8 + 12 / 8), (3, 2 / 8 + 2 / 8 + 12 / 8)])
def test_zero_spreads_what_its_paper_says(stage, each) -> None:
    strategy = DeepSpeed(kind="deepspeed", zero_stage=stage)
    held = states.states(replace(PLAIN, strategy=strategy, processes=8))
    count = states.numbers(PLAIN)
    assert held.weights + held.gradients + held.optimizer == pytest.approx(each * count)


def test_fsdp_spreads_sixteen_bytes_of_each_number() -> None:
    held = states.states(replace(PLAIN, strategy=FSDP(kind="fsdp"), processes=4))
    assert held.weights + held.gradients + held.optimizer == pytest.approx(16 * states.numbers(PLAIN) / 4)
    offloaded = states.states(replace(PLAIN, strategy=FSDP(kind="fsdp", cpu_offload=True), processes=4))
    assert offloaded.host == held.weights + held.gradients + held.optimizer
    assert offloaded.weights == 0


def test_ddp_has_buckets_as_large_as_the_gradients() -> None:
    held = states.states(replace(PLAIN, strategy=DDP(kind="ddp"), processes=2))
    assert held.buckets == held.gradients


@pytest.mark.parametrize(
    ("optimizer", "each"),
    [
        (AdamW(kind="adamw"), 8),
        (AdamW(kind="adamw", bits=8), 2 * (1 + 4 / 256)),
        (AdamW(kind="adamw", paged=True), 8),
        (Lion(kind="lion"), 4),
        (SGD(kind="sgd"), 0),
        (SGD(kind="sgd", momentum=0.9), 4),
        (Adafactor(kind="adafactor"), 0.004),
    ],
)
def test_the_state_of_an_optimizer(optimizer, each) -> None:
    assert states.optimizer_bytes(optimizer, SMALL, 1000, 4) == pytest.approx(1000 * each)


def test_muon_holds_one_number_for_matrices_and_two_for_embeddings() -> None:
    count, table = states.numbers(PLAIN), SMALL.vocabulary * SMALL.hidden
    assert states.optimizer_bytes(Muon(kind="muon"), SMALL, count, 4) == 4 * (count + table)


def test_four_bits_are_half_a_byte_and_a_little_for_scales() -> None:
    setting = replace(PLAIN, weights="bfloat16", adapter=LORA, quantization=NF4(kind="nf4"))
    matrices = 2 * (512 * 512 * 2 + 512 * 256 * 2 + 3 * 512 * 1536)
    rest = 2 * (states.numbers(setting) - matrices)
    assert states.base_bytes(setting) == pytest.approx(rest + matrices * (0.5 + 1 / 64 + 4 / 16384))


# -- what fits --


def test_the_largest_batch_fits_and_one_row_more_does_not() -> None:
    device = 6 * GIB
    rows = fitting.largest_batch(PLAIN, device)
    assert rows > 0
    assert memory(replace(PLAIN, rows=rows)).high <= device < memory(replace(PLAIN, rows=rows + 1)).high


def test_every_proposed_change_is_enough() -> None:
    large = replace(PLAIN, shape=of_facts(models()["meta-llama/Llama-3.1-8B"]), rows=8, length=4096)
    for device in (24 * GIB, 40 * GIB, 80 * GIB, 160 * GIB):
        assert memory(large).high > device
        found = fitting.changes(large, device)
        assert found
        assert all(change.needs <= device for change in found)


def test_a_model_that_no_change_makes_fit_gets_none() -> None:
    large = replace(PLAIN, shape=of_facts(models()["meta-llama/Llama-3.1-405B"]))
    assert fitting.changes(large, 16 * GIB) == []


def test_a_reference_is_held_unless_an_adapter_or_precomputing_makes_it_needless() -> None:
    dpo = replace(PLAIN, method=DPO(kind="dpo"))
    asked = replace(PLAIN, method=DPO(kind="dpo", precompute_ref_log_probs=True))
    adapted = replace(dpo, adapter=LORA)
    found = ["ref model" in memory(setting).peak.terms for setting in (dpo, asked, adapted)]
    assert found == [True, False, False]


# -- the command --

RECIPE = """
version: 1
name: tiny
model: {base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 2}}}
tokenizer: {kind: train, vocab_size: 400}
data: {train: [{kind: files, paths: [text.txt], format: text}]}
method: {kind: pretrain}
training: {max_steps: 5, learning_rate: 1e-3}
hardware: {accelerator: l4-24gb, price_per_hour: 0.8, carbon_intensity: 300, budget: 10}
"""


@pytest.fixture
def recipe(write):
    write("text.txt", "some words of a text")
    return str(write("recipe.yaml", RECIPE))


def test_plan_says_what_a_recipe_takes(recipe, capsys) -> None:
    assert main(["plan", recipe]) == 0
    told = capsys.readouterr().out
    for part in ("memory of a device", "largest batch", "disk", "host memory", "hours", "price", "carbon dioxide"):
        assert part in told


def test_the_figures_are_json_as_well(recipe, capsys) -> None:
    assert main(["plan", recipe, "--estimates", "--format", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["estimates"]
    moments = found["memory"]["moments"]
    assert found["memory"]["low"] < found["memory"]["high"] < found["memory"]["device"]
    assert found["memory"]["peak"] == max(moments, key=lambda name: sum(moments[name].values()))
    assert found["cost"]["price"][0] <= found["cost"]["price"][1]


def test_plan_traces_on_demand(recipe, capsys) -> None:
    assert main(["plan", recipe, "--trace"]) == 0
    assert "tiny: 0." in capsys.readouterr().out.partition("traced peaks")[2]
