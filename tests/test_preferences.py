"""Reward models, DPO, KTO, ORPO, CPO and distillation: what the trainers are given, and what comes of it."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import small
import torch
from data_stages import prepare_rows, read, report, source, tokenize_rows, train_a_tokenizer, write_jsonl
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.trainer.utils import RepeatSampler

from llmrecipe.methods.dpo import DPO
from llmrecipe.optimization import Muon
from llmrecipe.plan import Evaluate, Export, InputModel, Merge, PreferenceAccuracySuite
from llmrecipe.stages import evaluate, export, merge, train
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.distillation import ResumableSampler
from llmrecipe.trainers.pretokenized import PairCollator, WholeAnswerCollator
from llmrecipe.vocabulary import LoRA, Safetensors

LORA = LoRA(kind="lora", r=4, lora_alpha=8)
ROWS: dict[str, Callable[..., Any]] = {
    "reward": small.preference_rows,
    "dpo": small.preference_rows,
    "kto": small.unpaired_rows,
    "orpo": small.preference_rows,
    "cpo": small.preference_rows,
    "distillation": small.padded_rows,
}
each_method = pytest.mark.parametrize("method", ROWS)


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


LONG = "word " * 40
PAIRS = [
    {"prompt": "Best number? ", "chosen": "7", "rejected": "none"},
    {"prompt": "A trailing blank ", "chosen": " merges", "rejected": "not"},
    {"prompt": "Say", "chosen": " it", "rejected": " " + LONG},
    {"prompt": LONG, "chosen": "a", "rejected": "b"},
]
TALKS = [
    {"prompt": [user("Hi")], "chosen": [assistant("Hello!")], "rejected": [assistant("What?")]},
    {"prompt": [user("1 + 1?")], "chosen": [assistant("2")], "rejected": [assistant(LONG)]},
]
ANSWERS = [
    {"prompt": "Best number? ", "completion": "7", "label": True},
    {"prompt": "A trailing blank ", "completion": " merges", "label": False},
    {"prompt": "Say", "completion": " " + LONG, "label": False},
    {"prompt": LONG, "completion": "a", "label": True},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained tokenizer, and prepared rows."""
    folder = tmp_path_factory.mktemp("home")
    prepare_rows(folder / "text", [{"text": LONG}, {"text": "a text with 12 words and more"}], "text")
    train_a_tokenizer(folder / "tokenizer", folder / "text" / "output" / "rows")
    prepare_rows(folder / "pairs", PAIRS, "preference")
    prepare_rows(folder / "talks", TALKS, "preference")
    prepare_rows(folder / "answers", ANSWERS, "unpaired_preference")
    return folder


def tokens(home: Path, folder: Path, rows: str, objective: str, **options: Any) -> datasets.Dataset:
    prepared, trained = home / rows / "output" / "rows", home / "tokenizer" / "output" / "tokenizer"
    output = tokenize_rows(folder, prepared, trained, objective=objective, **options)
    return datasets.load_from_disk(str(output / "dataset" / "train"))


def tokenizer(home: Path) -> Any:
    return AutoTokenizer.from_pretrained(home / "tokenizer" / "output" / "tokenizer")


def model(tokenizer: Any, head: Any = AutoModelForCausalLM) -> Any:
    config = small.model(num_hidden_layers=1).config
    config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
    config.num_labels = 1
    return head.from_config(config)


def quiet(config: Any, folder: Path, **options: Any) -> Any:
    return config(str(folder), use_cpu=True, bf16=False, report_to="none", **options)


# -- the rows are those of the trainers --


@pytest.mark.parametrize("rows", ["pairs", "talks"])
@pytest.mark.parametrize("max_length", [40, 400])
def test_whole_answers_are_those_of_the_reward_trainer(home: Path, tmp_path: Path, rows: str, max_length: int) -> None:
    ours = tokens(home, tmp_path / "ours", rows, "preference", max_length=max_length, too_long="drop")
    raw = datasets.Dataset.from_list(PAIRS if rows == "pairs" else TALKS)
    words, args = tokenizer(home), quiet(RewardConfig, tmp_path, max_length=max_length)
    judge = model(words, AutoModelForSequenceClassification)
    trainer = RewardTrainer(judge, args, train_dataset=raw, processing_class=words)
    theirs = trainer.data_collator([*trainer.train_dataset])
    found = WholeAnswerCollator(words.pad_token_id)([*ours])
    assert found.keys() == theirs.keys()
    assert all(torch.equal(found[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("rows", ["answers", "pairs", "talks"])
@pytest.mark.parametrize("max_length", [40, 400])
def test_single_answers_are_those_of_the_kto_trainer(home: Path, tmp_path: Path, rows: str, max_length: int) -> None:
    ours = tokens(home, tmp_path / "ours", rows, "unpaired_preference", max_length=max_length)
    raw = datasets.Dataset.from_list({"answers": ANSWERS, "pairs": PAIRS, "talks": TALKS}[rows])
    words, args = tokenizer(home), quiet(KTOConfig, tmp_path, max_length=max_length, loss_type="apo_zero_unpaired")
    trainer = KTOTrainer(model(words), model(words), args, train_dataset=raw, processing_class=words)
    theirs = [
        (row["prompt_ids"], row["completion_ids"][: max_length - len(row["prompt_ids"])], row["label"])
        for row in trainer.train_dataset
    ]
    found = [(row["prompt_ids"], row["completion_ids"], bool(row["label"])) for row in ours]
    assert sorted(found) == sorted(theirs)


@pytest.mark.parametrize(("trainer", "config"), [(ORPOTrainer, ORPOConfig), (CPOTrainer, CPOConfig)])
@pytest.mark.parametrize("max_length", [40, 400])
def test_pairs_are_those_of_the_experimental_trainers(
    home: Path, tmp_path: Path, trainer: Any, config: Any, max_length: int
) -> None:
    ours = tokens(home, tmp_path / "ours", "pairs", "preference", max_length=max_length)
    words, args = tokenizer(home), quiet(config, tmp_path, max_length=max_length)
    raw = datasets.Dataset.from_list(PAIRS[:3])  # They keep rows whose prompt leaves no room.
    theirs = trainer(model(words), args, train_dataset=raw, processing_class=words)
    expected = theirs.data_collator([*theirs.train_dataset])
    found = PairCollator(words.pad_token_id)([*ours][:3])
    names = found.keys() - {"num_tokens"}
    assert names <= expected.keys()
    for name in sorted(names):
        assert torch.equal(found[name], expected[name]), name
    assert found["num_tokens"] == sum(found[f"{part}_attention_mask"].sum() for part in ("chosen", "rejected"))


def test_kto_gives_prompts_the_answers_to_others_of_their_batch(at: Callable[..., Place], tmp_path: Path) -> None:
    place = at("here", "kto", model=small.saved_model(tmp_path / "base"))
    spec = spec_of("kto", arguments={"per_device_train_batch_size": 3})
    arguments = train._arguments(spec, place, evaluates=False)
    rows = train._dataset(place.inputs["dataset"] / "train")
    words = small.tokenizer()
    trainer = train._trainer(
        spec, model=small.model(), args=arguments, train_dataset=rows, eval_dataset=None, processing_class=words
    )
    mixed = trainer.train_dataset
    assert sorted(map(str, mixed["completion_ids"])) == sorted(map(str, rows["completion_ids"]))
    assert mixed["completion_ids"][:] != rows["completion_ids"][:]
    for start in range(0, len(mixed), 3):
        block = mixed[start : start + 3]
        assert block["KL_completion_ids"] == block["completion_ids"][-1:] + block["completion_ids"][:-1]


def test_a_preference_that_tells_nothing_is_left_out_and_counted(home: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "Go", "chosen": " " + LONG + "on", "rejected": " " + LONG + "away"},
        {"prompt": "Go", "chosen": " on", "rejected": " away"},
    ]
    prepare_rows(tmp_path / "rows", rows, "preference")
    trained = home / "tokenizer" / "output" / "tokenizer"
    output = tokenize_rows(
        tmp_path / "ours", tmp_path / "rows" / "output" / "rows", trained, objective="preference", max_length=40
    )
    told = report(output)["train"]
    assert told["dropped"] == {"both answers are the same within max_length": 1}
    assert told["kept"] == 1


def test_a_reward_model_does_not_learn_from_answers_that_were_cut(home: Path, tmp_path: Path) -> None:
    kept = tokens(home, tmp_path / "ours", "pairs", "preference", max_length=40, too_long="drop")
    assert len(kept) == 2


def test_labels_are_true_or_false(tmp_path: Path) -> None:
    output = prepare_rows(tmp_path / "rows", [{**ANSWERS[0], "label": 1}, {**ANSWERS[1], "label": False}],
                          "unpaired_preference")  # fmt: skip
    assert [bool(row["label"]) for row in read(output)] == [True, False]
    with pytest.raises(StageError, match="`label` is a string, not a boolean"):
        prepare_rows(tmp_path / "wrong", [{**ANSWERS[0], "label": "good"}], "unpaired_preference")


# -- training --


@pytest.fixture
def at(tmp_path: Path) -> Callable[..., Place]:
    """Makes a place with a dataset for the method."""

    def at(name: str, method: str, rows: int = 12, **inputs: Path) -> Place:
        if not (tmp_path / "tokenizer").exists():
            small.tokenizer().save_pretrained(tmp_path / "tokenizer")
        data = tmp_path / f"{method}-{rows}"
        if not data.exists():
            small.dataset(data, list(ROWS[method](rows)), list(ROWS[method](3, seed=9)))
        return small.place(tmp_path / name, dataset=data, tokenizer=tmp_path / "tokenizer", **inputs)

    return at


def spec_of(method: str, **changes: Any) -> Any:
    """Training of a model that a stage left."""
    arguments = {"max_steps": 4, "save_steps": 2, **changes.pop("arguments", {})}
    fields: dict[str, Any] = {"model": small.INPUT, "packed": False, "arguments": arguments}
    fields["head"] = "reward" if method == "reward" else "causal"
    if method == "distillation":
        fields["models"] = {"teacher_model": InputModel(kind="input", name="teacher_model")}
        arguments |= {"max_completion_length": 4, "lmbda": arguments.get("lmbda", 0.5)}
    return small.train_spec(method, **(fields | changes))


def weights(place: Place) -> dict[str, torch.Tensor]:
    return {k: v for file in sorted((place.output / "model").glob("*.safetensors")) for k, v in load_file(file).items()}


def inputs(tmp_path: Path, method: str) -> dict[str, Path]:
    found = {"model": small.saved_model(tmp_path / "base")}
    if method == "distillation":
        found["teacher_model"] = small.saved_model(tmp_path / "teacher", hidden_size=48, head_dim=12, seed=3)
    return found


@each_method
def test_every_weight_learns_twice_the_same_and_the_input_stays_as_it_is(
    method: str, at: Callable[..., Place], tmp_path: Path
) -> None:
    models = inputs(tmp_path, method)
    first = at("first", method, **models)
    before = {path: path.stat().st_mtime_ns for path in first.inputs["dataset"].rglob("*")}
    metrics = train.run(spec_of(method), first)
    assert {path: path.stat().st_mtime_ns for path in first.inputs["dataset"].rglob("*")} == before
    assert metrics["trainable_parameters"] == metrics["parameters"]
    assert math.isfinite(metrics["eval_loss"])
    assert metrics["train_tokens"] > 0
    base = load_file(models["model"] / "model.safetensors")
    found = weights(first)
    assert any(not torch.equal(found[name], tensor) for name, tensor in base.items() if name in found)
    second = at("second", method, **models)
    train.run(spec_of(method), second)
    assert all(torch.equal(weights(second)[name], tensor) for name, tensor in found.items())


@each_method
def test_an_adapter_is_merged_into_the_same_function(method: str, at: Callable[..., Place], tmp_path: Path) -> None:
    models = inputs(tmp_path, method)
    place = at("here", method, **models)
    metrics = train.run(spec_of(method, adapter=LORA), place)
    assert metrics["trainable_parameters"] < metrics["parameters"] / 2
    head = "reward" if method == "reward" else "causal"
    merged = small.place(tmp_path / "merged", model=models["model"], adapter=place.output / "model")
    spec = Merge(kind="merge", model=small.INPUT, head=head, trust_remote_code=False)
    assert merge.run(spec, merged)["max_logit_difference"] < 1e-4


@pytest.mark.parametrize("loss", DPO.model_fields["loss_type"].annotation.__args__[0].__args__)
def test_every_loss_of_dpo_learns(loss: str, at: Callable[..., Place], tmp_path: Path) -> None:
    place = at("here", "dpo", model=small.saved_model(tmp_path / "base"))
    options = DPO(kind="dpo", loss_type=loss, label_smoothing=1e-3).options()
    metrics = train.run(spec_of("dpo", arguments={**options, "max_steps": 1}), place)
    assert math.isfinite(metrics["train_loss"])
    assert small.log(place)[0]["grad_norm"] > 0


def test_a_mixture_of_losses_is_their_weighted_sum(at: Callable[..., Place], tmp_path: Path) -> None:
    base = small.saved_model(tmp_path / "base")

    def loss(name: str, loss_type: Any) -> float:
        options = DPO.model_validate({"kind": "dpo", "loss_type": loss_type}).options()
        place = at(name, "dpo", model=base)
        return train.run(spec_of("dpo", arguments={**options, "max_steps": 1, "learning_rate": 0.0}), place)[
            "eval_loss"
        ]

    mixed = loss("mixed", [{"loss": "sigmoid", "weight": 0.8}, {"loss": "sft", "weight": 0.5}])
    assert mixed == pytest.approx(0.8 * loss("a", "sigmoid") + 0.5 * loss("b", "sft"), rel=1e-5)


# -- references --


@pytest.mark.parametrize("adapter", [{}, {"adapter": LORA}])
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_the_reference_is_the_policy_as_it_begins(
    method: str, adapter: dict[str, Any], at: Callable[..., Place], tmp_path: Path
) -> None:
    place = at("here", method, model=small.saved_model(tmp_path / "base"))
    train.run(spec_of(method, arguments={"max_steps": 1, "logging_steps": 1}, **adapter), place)
    first = small.log(place)[0]
    assert first["loss"] == pytest.approx(math.log(2) if method == "dpo" else 0.5, abs=1e-6)
    assert first.get("rewards/margins", 0.0) == pytest.approx(0.0, abs=1e-6)


def test_the_reference_after_an_adapter_is_what_that_adapter_made(at: Callable[..., Place], tmp_path: Path) -> None:
    base = small.saved_model(tmp_path / "base")
    data = small.dataset(tmp_path / "sft", list(small.padded_rows(12)))
    first = small.place(tmp_path / "first", dataset=data, tokenizer=base, model=base)
    train.run(small.train_spec("sft", model=small.INPUT, packed=False, adapter=LORA, arguments={"max_steps": 8}), first)
    merged = small.place(tmp_path / "merged", model=base, adapter=first.output / "model")
    merge.run(Merge(kind="merge", model=small.INPUT, trust_remote_code=False), merged)
    taught = merged.output / "model"
    place = at("here", "dpo", model=taught)
    train.run(spec_of("dpo", adapter=LORA, arguments={"max_steps": 1, "logging_steps": 1}), place)
    log = small.log(place)[0]
    assert log["loss"] == pytest.approx(math.log(2), abs=1e-6)
    row = next(iter(small.preference_rows(1)))
    assert log_probability(taught, row, "chosen") != pytest.approx(log_probability(base, row, "chosen"), abs=1e-3)


def log_probability(folder: Path, row: dict[str, list[int]], answer: str) -> float:
    """Summed over the answer, slowly."""
    policy = AutoModelForCausalLM.from_pretrained(folder).eval()
    total = 0.0
    ids = row["prompt_ids"]
    for token in row[f"{answer}_ids"]:
        with torch.no_grad():
            total += policy(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token].item()
        ids = [*ids, token]
    return total


def test_a_named_reference_holds_the_policy(at: Callable[..., Place], tmp_path: Path) -> None:
    base, other = small.saved_model(tmp_path / "base"), small.saved_model(tmp_path / "other", seed=5)
    place = at("here", "dpo", rows=2, model=base, ref_model=other)
    named = {"ref_model": InputModel(kind="input", name="ref_model")}
    arguments = {"max_steps": 1, "logging_steps": 1, "beta": 0.5}
    train.run(spec_of("dpo", models=named, arguments=arguments), place)
    rows = list(small.preference_rows(2))
    margins = [
        (log_probability(base, row, "chosen") - log_probability(other, row, "chosen"))
        - (log_probability(base, row, "rejected") - log_probability(other, row, "rejected"))
        for row in rows
    ]
    assert small.log(place)[0]["rewards/margins"] == pytest.approx(0.5 * sum(margins) / 2, abs=1e-4)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_reference_that_is_asked_before_changes_nothing(
    method: str, at: Callable[..., Place], tmp_path: Path
) -> None:
    base = small.saved_model(tmp_path / "base")
    during, before = at("during", method, model=base), at("before", method, model=base)
    train.run(spec_of(method), during)
    stored = sorted(path.name for path in before.inputs["dataset"].rglob("*"))
    train.run(spec_of(method, arguments={"precompute_ref_log_probs": True}), before)
    assert sorted(path.name for path in before.inputs["dataset"].rglob("*")) == stored
    assert len(list(before.work.glob("reference-*.arrow"))) == 2
    for name, tensor in weights(during).items():
        torch.testing.assert_close(weights(before)[name], tensor, rtol=0, atol=1e-5)


def test_a_reference_follows_the_policy_when_it_is_told_to(at: Callable[..., Place], tmp_path: Path) -> None:
    base = small.saved_model(tmp_path / "base")
    options = DPO.model_validate({"kind": "dpo", "sync_ref_model": {"every_steps": 1, "alpha": 1.0}}).options()
    place = at("here", "dpo", model=base)
    train.run(spec_of("dpo", arguments={**options, "logging_steps": 1}), place)
    assert [line["loss"] for line in small.log(place) if "loss" in line] == pytest.approx([math.log(2)] * 4, abs=1e-3)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_single_tokens_of_a_tied_model_are_trained(method: str, at: Callable[..., Place], tmp_path: Path) -> None:
    place = at("here", method, model=small.saved_model(tmp_path / "base"))
    adapter = LoRA(kind="lora", r=4, lora_alpha=8, trainable_token_indices=[3, 7])
    train.run(spec_of(method, adapter=adapter), place)
    (tokens,) = [tensor for name, tensor in weights(place).items() if "trainable_tokens_delta" in name]
    assert tokens.shape == (2, 32)


def test_a_reference_of_other_weights_cannot_follow(at: Callable[..., Place], tmp_path: Path) -> None:
    base = small.saved_model(tmp_path / "base")
    other = small.saved_model(tmp_path / "other", tie_word_embeddings=False)
    options = DPO.model_validate({"kind": "dpo", "sync_ref_model": {}}).options()
    named = {"ref_model": InputModel(kind="input", name="ref_model")}
    place = at("here", "dpo", model=base, ref_model=other)
    with pytest.raises(StageError, match=r"`lm_head.weight` is \d+ x 32 there and missing here"):
        train.run(spec_of("dpo", models=named, arguments=options), place)


# -- reward models --


def judge(at: Callable[..., Place], tmp_path: Path, **changes: Any) -> tuple[Path, Place]:
    base = small.saved_model(tmp_path / "base")
    place = at("judge", "reward", model=base)
    train.run(spec_of("reward", **changes), place)
    return base, place


def test_a_judge_is_trained_with_muon(at: Callable[..., Place], tmp_path: Path) -> None:
    base, place = judge(at, tmp_path, optimizer=Muon(kind="muon"))
    begun = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1).state_dict()
    moved = weights(place)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert moved["score.weight"].isfinite().all()
    assert not torch.equal(moved[name], begun[name])


def pairs_file(tmp_path: Path) -> list[dict[str, str]]:
    rows = [{"prompt": f"How many {i}? ", "chosen": f"It has {i}", "rejected": "blue" * (i + 1)} for i in range(5)]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    return rows


def measured(tmp_path: Path, name: str, head: str, **inputs: Path) -> dict[str, float]:
    suite = PreferenceAccuracySuite(
        kind="preference_accuracy", name="pairs", batch_size=2, sources=[source("pairs.jsonl", format="preference")]
    )
    spec = Evaluate(
        kind="evaluate", suite=suite, model=small.INPUT, head=head, dtype="auto", attention="sdpa",
        trust_remote_code=False,
    )  # fmt: skip
    place = small.place(tmp_path / name, **inputs)
    return evaluate.run(spec, Place(place.inputs, place.output, place.work, tmp_path))


def test_a_reward_model_leaves_as_one_and_loads_in_plain_transformers(at: Callable[..., Place], tmp_path: Path) -> None:
    _, place = judge(at, tmp_path)
    leaving = small.place(tmp_path / "export", model=place.output / "model")
    spec = Export(
        kind="export", formats=[Safetensors(kind="safetensors")], model=small.INPUT, head="reward", name="judge",
        license=None, description=None, base="base", recipe="name: judge", trust_remote_code=False,
    )  # fmt: skip
    export.run(spec, leaving)
    folder = leaving.output / "model"
    assert not (folder / "generation_config.json").exists()
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    assert loaded.config.num_labels == 1
    rows = pairs_file(tmp_path)
    words = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        margins = [
            (loaded(**words(row["prompt"] + row["chosen"] + words.eos_token, return_tensors="pt")).logits
             - loaded(**words(row["prompt"] + row["rejected"] + words.eos_token, return_tensors="pt")).logits).item()
            for row in rows
        ]  # fmt: skip
    found = measured(tmp_path, "scores", "reward", model=folder)
    assert found["margin"] == pytest.approx(sum(margins) / len(margins), abs=1e-5)
    assert found["accuracy"] == sum(margin > 0 for margin in margins) / len(margins)
    card = (folder / "README.md").read_text("utf-8")
    assert "AutoModelForSequenceClassification" in card
    assert "text-classification" in card


def test_the_head_of_a_reward_adapter_is_trained_saved_and_merged(at: Callable[..., Place], tmp_path: Path) -> None:
    base, place = judge(at, tmp_path, adapter=LORA)
    adapter = place.output / "model"
    assert any("score" in name for name in load_file(adapter / "adapter_model.safetensors"))
    merged = small.place(tmp_path / "merged", model=base, adapter=adapter)
    merge.run(Merge(kind="merge", model=small.INPUT, head="reward", trust_remote_code=False), merged)
    pairs_file(tmp_path)
    alone = measured(tmp_path, "alone", "reward", model=base, adapter=adapter)
    together = measured(tmp_path, "together", "reward", model=merged.output / "model")
    assert alone["margin"] == pytest.approx(together["margin"], abs=1e-4)
    assert alone["pairs"] == 5


def test_a_language_model_is_judged_by_the_probability_of_whole_answers(tmp_path: Path) -> None:
    base, rows = small.saved_model(tmp_path / "base"), pairs_file(tmp_path)
    words = small.tokenizer()
    margins = []
    for row in rows:
        prompt = words(row["prompt"])["input_ids"]
        ids = {part: words(row["prompt"] + row[part] + words.eos_token)["input_ids"] for part in ("chosen", "rejected")}
        start = next(i for i, (a, b, c) in enumerate(zip([*prompt, -1], ids["chosen"], ids["rejected"], strict=False))
                     if a != b or a != c)  # fmt: skip
        split = {"prompt_ids": ids["chosen"][:start], **{f"{part}_ids": row[start:] for part, row in ids.items()}}
        margins.append(log_probability(base, split, "chosen") - log_probability(base, split, "rejected"))
    found = measured(tmp_path, "likely", "causal", model=base)
    assert found["margin"] == pytest.approx(sum(margins) / 5, abs=1e-3)
    assert found["accuracy"] == sum(margin > 0 for margin in margins) / 5


# -- distillation --


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_loss_of_distillation_is_the_divergence_of_written_answers(
    beta: float, at: Callable[..., Place], tmp_path: Path
) -> None:
    models = inputs(tmp_path, "distillation")
    arguments = {"lmbda": 0.0, "beta": beta, "temperature": 2.0, "max_steps": 1, "learning_rate": 0.0}
    place = at("here", "distillation", **models)
    found = train.run(spec_of("distillation", arguments=arguments | {"per_device_eval_batch_size": 3}), place)
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(models[name]).eval() for name in ("model", "teacher_model")
    )
    total, count = 0.0, 0
    for row in small.padded_rows(3, seed=9):
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            q, p = ((m(ids).logits[0].double() / 2.0).softmax(-1) for m in (student, teacher))
        for i, label in enumerate(row["labels"][1:]):
            if label == -100:
                continue
            m = beta * p[i] + (1 - beta) * q[i]
            kl = {0.0: kl_of(p[i], q[i]), 1.0: kl_of(q[i], p[i])}
            total += kl.get(beta, beta * kl_of(p[i], m) + (1 - beta) * kl_of(q[i], m))
            count += 1
    assert found["eval_loss"] == pytest.approx(total / count, rel=1e-3)


def kl_of(p: torch.Tensor, q: torch.Tensor) -> float:
    return (p * (p.log() - q.log())).sum().item()


def test_a_student_answers_itself_on_its_share_of_the_steps(at: Callable[..., Place], tmp_path: Path) -> None:
    models = inputs(tmp_path, "distillation")
    answered = {}
    for share in (0.0, 0.5, 1.0):
        place = at(f"share-{share}", "distillation", **models)
        arguments = {"lmbda": share, "logging_steps": 1, "max_steps": 12}
        train.run(spec_of("distillation", arguments=arguments), place)
        answered[share] = sum("completions/mean_length" in line for line in small.log(place))
    assert answered[0.0] == 0
    assert 0 < answered[0.5] < 12
    assert answered[1.0] == 12


def test_a_teacher_with_other_tokens_is_refused(at: Callable[..., Place], home: Path, tmp_path: Path) -> None:
    models = inputs(tmp_path, "distillation")
    tokenizer(home).save_pretrained(models["teacher_model"])
    with pytest.raises(StageError, match="the teacher has another tokenizer"):
        train.run(spec_of("distillation"), at("here", "distillation", **models))


def test_a_teacher_with_more_rows_of_embeddings_is_refused(at: Callable[..., Place], tmp_path: Path) -> None:
    models = inputs(tmp_path, "distillation")
    larger = AutoModelForCausalLM.from_pretrained(models["teacher_model"])
    larger.resize_token_embeddings(len(small.tokenizer()) + 8)
    larger.save_pretrained(models["teacher_model"])
    with pytest.raises(StageError, match="the teacher gives probabilities to"):
        train.run(spec_of("distillation"), at("here", "distillation", **models))


def test_the_order_of_rows_follows_from_seed_and_epoch() -> None:
    trainer = SimpleNamespace(state=SimpleNamespace(epoch=None))

    def order(epoch: float | None) -> list[int]:
        sampler = RepeatSampler(range(20), 1, batch_size=4, repeat_count=2, seed=3)
        trainer.state.epoch = epoch
        return list(ResumableSampler(sampler, trainer))

    assert order(None) == order(0.0) == order(0.6)
    assert order(1.0) == order(1.4) != order(0.0)
