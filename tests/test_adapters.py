"""Adapters: each option trains, resumes, merges exactly, and loads in plain PEFT on the base as it was."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from peft import PeftModel
from test_train import at, forked, kill, lines, weights  # noqa: F401  `at` is a fixture
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from llmrecipe.plan import LocalModel, Merge, NewModel, Train
from llmrecipe.stages import adapters, loading, merge, train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.loraplus import split_groups
from llmrecipe.vocabulary import DoRA, LoRA

LAYERS = ["q_proj", "v_proj", "down_proj"]


def lora(**options: Any) -> LoRA:
    return LoRA(kind="lora", **{"r": 4, "lora_alpha": 8, **options})


def dora(**options: Any) -> DoRA:
    return DoRA(kind="dora", **{"r": 4, "lora_alpha": 8, **options})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return small.saved_model(tmp_path / "base")


def spec(base: Path, adapter: LoRA | DoRA, method: str = "sft", **changes: Any) -> Train:
    origin = LocalModel(kind="local", path=str(base), sha256="")
    return small.train_spec(method, model=origin, adapter=adapter, **changes)


ADAPTERS: dict[str, LoRA | DoRA] = {
    **{name: lora(init_lora_weights=name)
       for name in ("gaussian", "orthogonal", "pissa", "pissa_niter_4", "olora")},
    "pissa, rank-stabilised, with patterns": lora(
        init_lora_weights="pissa", use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"v_proj": 16}
    ),
    "dora": dora(),
    "dora from pissa": dora(init_lora_weights="pissa"),
    "patterns": lora(rank_pattern={"q_proj": 2, r"layers\.1\.mlp\.down_proj": 6}, alpha_pattern={"v_proj": 16}),
    "some layers": lora(target_modules=LAYERS, layers_to_transform=[1]),
    "all but": lora(exclude_modules=["gate_proj", "up_proj"]),
    "tokens": lora(trainable_token_indices=[3, 7, 11]),
    "a module": lora(modules_to_save=["norm"]),
    "biases": lora(bias="lora_only"),
    "loraplus": lora(loraplus_lr_ratio=8.0),
}  # fmt: skip


def merged(base: Path, adapter: Path, folder: Path) -> Any:
    place = small.place(folder, model=base, adapter=adapter)
    merge.run(Merge(kind="merge", model=small.INPUT, trust_remote_code=False), place)
    return AutoModelForCausalLM.from_pretrained(place.output / "model").eval()


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_was_trained_is_the_adapter_on_the_base_as_it_was_and_the_merged_model(
    name: str,
    at: Callable[..., Place],  # noqa: F811
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[torch.Tensor] = []
    save = train._save
    monkeypatch.setattr(train, "_save", lambda trainer, place: (
        trained.append(loading.probe(trainer.model.eval())), save(trainer, place)))  # fmt: skip
    place = at("place")
    train.run(spec(base, ADAPTERS[name]), place)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), place.output / "model").eval()
    whole = merged(base, place.output / "model", tmp_path / "merge")
    expected = trained[0]
    assert (loading.probe(AutoModelForCausalLM.from_pretrained(base).eval()) - expected).abs().max() > 1e-2
    assert (loading.probe(plain) - expected).abs().max() < 2e-5
    assert (loading.probe(whole) - expected).abs().max() < 2e-5
    assert {p.name for p in (place.output / "model").iterdir()} >= {"adapter_model.safetensors", "adapter_config.json"}


def test_a_killed_run_that_began_with_a_part_of_the_weights_ends_as_one_that_was_not(
    at: Callable[..., Place],  # noqa: F811
    base: Path,
) -> None:
    wanted = spec(base, lora(init_lora_weights="pissa_niter_4", lora_dropout=0.2, loraplus_lr_ratio=4.0))
    straight, resumed = at("straight"), at("resumed")
    train.run(wanted, straight)
    assert os.WTERMSIG(forked(resumed, wanted, 7, kill)) == signal.SIGKILL
    train.run(wanted, resumed)
    assert all(torch.equal(weights(straight)[name], tensor) for name, tensor in weights(resumed).items())
    assert lines(straight) == lines(resumed)


@pytest.mark.parametrize("tied", [True, False])
def test_trained_tokens_reach_the_losses_of_trl_through_a_tied_head(tied: bool) -> None:
    model = small.model(tie_word_embeddings=tied)
    add_fused_lm_head(model)
    model = adapters.with_new_adapter(model, lora(trainable_token_indices=[3, 7]), seed=1)
    adapters.complete_head(model)
    deltas = {name: p for name, p in model.named_parameters() if "trainable_tokens_delta" in name}
    with torch.no_grad():
        for delta in deltas.values():
            delta += 0.5
    ids = torch.tensor([[3, 9, 7, 3, 11, 7]])
    fused = model(input_ids=ids, labels=ids, fused_lm_head=True).log_probs
    plain = model(input_ids=ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-5)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for ours, theirs in zip(
        *(torch.autograd.grad(found.sum(), parameters, allow_unused=True) for found in (fused, plain)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_the_seed_decides_how_an_adapter_begins(at: Callable[..., Place], base: Path) -> None:  # noqa: F811
    begun = {}
    for name, seed in {"one": 1, "same": 1, "other": 2}.items():
        place = at(name)
        train.run(spec(base, lora(), seed=seed, arguments={"max_steps": 1, "learning_rate": 1e-9}), place)
        begun[name] = next(v for k, v in weights(place).items() if "lora_A" in k)
    assert torch.equal(begun["one"], begun["same"])
    assert not torch.equal(begun["one"], begun["other"])


def test_only_the_chosen_tokens_move(at: Callable[..., Place], base: Path, tmp_path: Path) -> None:  # noqa: F811
    place = at("place")
    train.run(spec(base, ADAPTERS["tokens"]), place)
    model = merged(base, place.output / "model", tmp_path / "merge")
    before = AutoModelForCausalLM.from_pretrained(base).get_input_embeddings().weight
    moved = (model.get_input_embeddings().weight != before).any(dim=1).nonzero().flatten().tolist()
    assert moved == [3, 7, 11]


def test_ranks_and_layers_are_those_of_the_recipe(at: Callable[..., Place], base: Path) -> None:  # noqa: F811
    place, some = at("place"), at("some")
    train.run(spec(base, ADAPTERS["patterns"], arguments={"max_steps": 1}), place)
    ranks = {name: tensor.shape[0] for name, tensor in weights(place).items() if "lora_A" in name}
    assert {rank for name, rank in ranks.items() if "q_proj" in name} == {2}
    assert {name.split(".")[4] for name, rank in ranks.items() if rank == 6} == {"1"}
    train.run(spec(base, ADAPTERS["some layers"], arguments={"max_steps": 1}), some)
    assert {tuple(name.split(".")[4:7:2]) for name in weights(some)} == {("1", layer) for layer in LAYERS}


def test_second_matrices_learn_faster_and_the_schedule_keeps_the_ratio() -> None:
    model = adapters.with_new_adapter(small.model(), lora(), 1)
    model.base_model.model.model.norm.weight.requires_grad_(True)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    decayed = [p for name, p in named.items() if "norm" not in name]
    plain = [p for name, p in named.items() if "norm" in name]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    split_groups(optimizer, model, 16.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: rates[id(p)] for name, p in named.items()} == {
        name: pytest.approx(8e-3 if "lora_B" in name else 5e-4) for name in named
    }
    assert optimizer.param_groups[0]["lr"] == pytest.approx(5e-4) == pytest.approx(scheduler.get_last_lr()[0])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0, 0.1]


def test_loraplus_is_the_optimizer_of_peft(at: Callable[..., Place], base: Path) -> None:  # noqa: F811
    """One step of AdamW moves every number by its rate: B by eight times that of A."""
    options = {"max_steps": 1, "weight_decay": 0.0, "max_grad_norm": 0.0, "lr_scheduler_type": "constant",
               "warmup_steps": 0, "learning_rate": 1e-3}  # fmt: skip
    steps = {}
    for name, adapter in {"plain": lora(), "plus": lora(loraplus_lr_ratio=8.0)}.items():
        place = at(name)
        train.run(spec(base, adapter, arguments=options), place)
        steps[name] = max(v.abs().max().item() for k, v in weights(place).items() if "lora_B" in k)
    assert steps == {"plain": pytest.approx(1e-3, rel=1e-2), "plus": pytest.approx(8e-3, rel=1e-2)}


EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def test_experts_of_a_mixture_are_adapted_merged_and_load_again(
    at: Callable[..., Place],  # noqa: F811
    tmp_path: Path,
) -> None:
    model = small.model("qwen3_moe")
    model.save_pretrained(tmp_path / "moe")
    small.tokenizer().save_pretrained(tmp_path / "moe")
    place = at("place")
    train.run(spec(tmp_path / "moe", lora(target_modules=[], target_parameters=EXPERTS)), place)
    assert all(".experts." in name for name in weights(place))
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "moe")
    adapted = PeftModel.from_pretrained(base, place.output / "model").eval()
    whole = merged(tmp_path / "moe", place.output / "model", tmp_path / "merge")
    assert (loading.probe(whole) - loading.probe(adapted)).abs().max() < 2e-5
    assert (loading.probe(whole) - loading.probe(model)).abs().max() > 1e-2
    assert torch.equal(whole.model.layers[0].self_attn.q_proj.weight, model.model.layers[0].self_attn.q_proj.weight)


def test_a_mixture_from_scratch_learns_with_the_loss_that_spreads_tokens(at: Callable[..., Place]) -> None:  # noqa: F811
    losses = {}
    for coefficient in (0.0, 1.0):
        place = at(str(coefficient))
        architecture = small.architecture("qwen3_moe", router_aux_loss_coef=coefficient)
        origin = NewModel(kind="new", architecture=architecture)
        losses[coefficient] = train.run(small.train_spec(model=origin, arguments={"max_steps": 4}), place)["train_loss"]
        trained = AutoModelForCausalLM.from_pretrained(place.output / "model")
        assert trained.config.output_router_logits is False
    assert losses[1.0] > losses[0.0] + 1


def test_a_module_that_the_model_lacks_is_told(at: Callable[..., Place], base: Path) -> None:  # noqa: F811
    with pytest.raises(StageError, match="refuses this recipe"):
        train.run(spec(base, lora(target_modules=["c_attn"])), at("place"))
