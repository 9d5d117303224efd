"""Masked language modelling: what is hidden, what the loss is over, and what becomes of documents that share a row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from datasets import Dataset
from resuming import assert_resumes
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM

from llmrecipe.plan import (
    Evaluate,
    InputModel,
    MaskedAccuracySuite,
    Merge,
    NewModel,
    Tokenize,
    Train,
    TrainTokenizer,
)
from llmrecipe.stages import evaluate, loading, merge, tokenize, train, train_tokenizer
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers.masked import IGNORED, MaskedCollator, MaskedRows, collator_for
from llmrecipe.vocabulary import Architecture, LoRA, Masking, TrainedTokenizer

TEXTS = [
    "The owl lives in the forest.",
    "The frog has a red house.",
    "Honey is what the bear likes.",
    "A fox eats fish.",
]


def rows(count: int = 400, length: int = 50) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        ids = rng.integers(5, 300, size=length)
        labels = ids.copy()
        labels[[0, -1]] = IGNORED
        found.append({"input_ids": ids, "labels": labels, "word_ids": np.repeat(np.arange(length // 5), 5)})
    return found


def hidden(masking: Masking, seed: int = 1, epoch: int = 0) -> list[dict[str, Any]]:
    masked = MaskedRows(rows(), masking, mask_token_id=4, vocab_size=300, seed=seed)
    masked.set_epoch(epoch)
    return [masked[i] for i in range(len(masked))]


def test_fifteen_percent_are_hidden_of_which_eighty_behind_the_mask_and_ten_are_some_other_token() -> None:
    found, plain = hidden(Masking()), rows()
    labels = np.concatenate([row["labels"] for row in found])
    seen = np.concatenate([row["input_ids"] for row in found])
    ids = np.concatenate([row["input_ids"] for row in plain])
    chosen = labels != IGNORED
    assert chosen.mean() == pytest.approx(0.15 * 48 / 50, abs=0.01)
    assert np.array_equal(labels[chosen], ids[chosen])
    assert np.array_equal(seen[~chosen], ids[~chosen])
    assert (seen[chosen] == 4).mean() == pytest.approx(0.8, abs=0.02)
    assert ((seen != ids) & (seen != 4))[chosen].mean() == pytest.approx(0.1, abs=0.02)


def test_tokens_without_a_label_are_never_hidden() -> None:
    for row in hidden(Masking(mlm_probability=0.9)):
        assert row["labels"][0] == row["labels"][-1] == IGNORED


def test_words_are_hidden_whole_or_not_at_all() -> None:
    found = hidden(Masking(whole_word=True, mlm_probability=0.3))
    inner = np.asarray([(row["labels"][5:45] != IGNORED).reshape(8, 5) for row in found])
    assert set(np.unique(inner.sum(-1))) == {0, 5}
    assert inner.mean() == pytest.approx(0.3, abs=0.03)


def test_what_is_hidden_follows_from_seed_epoch_and_row_alone() -> None:
    def same(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> bool:
        return all(np.array_equal(x["input_ids"], y["input_ids"]) for x, y in zip(a, b, strict=True))

    assert same(hidden(Masking()), hidden(Masking()))
    assert not same(hidden(Masking()), hidden(Masking(), epoch=1))
    assert not same(hidden(Masking()), hidden(Masking(), seed=2))


def model(family: str, attention: str = "sdpa") -> Any:
    architecture = Architecture(
        family=family, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    tokenizer = small.tokenizer()
    tokenizer.add_special_tokens({"mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]"})
    return loading.new_model(architecture, tokenizer, attention, "float32", seed=0).eval()


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_an_encoder_from_scratch_guesses_tokens_from_both_sides(family: str) -> None:
    encoder = model(family)
    ids = torch.arange(5, 17)[None]
    changed = ids.clone()
    changed[0, -1] = 99
    assert not torch.allclose(encoder(input_ids=ids).logits[0, 0], encoder(input_ids=changed).logits[0, 0])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_documents_have_the_logits_that_they_have_alone(attention: str) -> None:
    encoder = model("bert", attention)
    collate = collator_for(encoder, attention, packed=True, pad_token_id=0)
    ids = np.arange(5, 25)
    batch = collate(
        [
            {"input_ids": ids, "labels": ids, "seq_lengths": [12, 8]},
            {"input_ids": ids[:9], "labels": ids[:9], "seq_lengths": [9]},
        ]
    )
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
    with torch.no_grad():
        together = encoder(**inputs).logits
        for row, start, end in ((0, 0, 12), (0, 12, 20), (1, 0, 9)):
            alone = encoder(input_ids=torch.from_numpy(ids[start:end])[None]).logits[0]
            torch.testing.assert_close(together[row, start:end], alone, rtol=0, atol=1e-5)


def test_a_model_with_a_window_does_not_pack() -> None:
    with pytest.raises(StageError, match="packed documents apart"):
        collator_for(model("modernbert"), "sdpa", packed=True, pad_token_id=0)


def test_padding_is_marked() -> None:
    batch = MaskedCollator(7)([{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, {"input_ids": [4], "labels": [4]}])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 7, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[1, 2, 3], [4, IGNORED, IGNORED]]
    assert batch["num_tokens"] == 4


# -- from text to a model --


def trained_tokenizer(folder: Path, algorithm: str = "wordpiece") -> Path:
    place = small.place(folder, rows=text_rows(folder))
    options = TrainedTokenizer(kind="train", algorithm=algorithm, vocab_size=300, min_frequency=1)
    spec = TrainTokenizer(kind="train_tokenizer", tokenizer=options, chat_template="", max_length=32, head="masked")
    train_tokenizer.run(spec, place)
    return place.output / "tokenizer"


def text_rows(folder: Path) -> Path:
    target = folder / "rows"
    for split, texts in (("train", TEXTS * 4), ("validation", TEXTS)):
        (target / split).mkdir(parents=True, exist_ok=True)
        Dataset.from_dict({"text": texts}).to_parquet(target / split / "00000.parquet")
    return target


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram"])
def test_a_tokenizer_for_encoders_puts_a_text_between_its_two_ends(algorithm: str, tmp_path: Path) -> None:
    folder = trained_tokenizer(tmp_path, algorithm)
    tokenizer = loading.tokenizer_at(folder)
    ids = tokenizer(TEXTS[0])["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert tokenizer.mask_token == "[MASK]"
    assert tokenizer.eos_token is None
    assert not (folder / "chat_template.jinja").exists()
    assert Tokenizer.from_file(str(folder / "tokenizer.json")).encode("[MASK]").tokens[1] == "[MASK]"


def tokenized(folder: Path, max_length: int = 32, packing: str = "none", words: bool = False) -> Place:
    spec = Tokenize(
        kind="tokenize", objective="masked", tokenizer=None, chat_template=None, loss_on="all", max_length=max_length,
        packing=packing, words=words, trust_remote_code=False,
    )  # fmt: skip
    place = small.place(folder / "tokenized", rows=folder / "rows", tokenizer=trained_tokenizer(folder))
    tokenize.run(spec, place)
    return place


def test_the_ends_of_a_row_are_kept_and_never_to_be_guessed(tmp_path: Path) -> None:
    place = tokenized(tmp_path, max_length=6, words=True)
    tokenizer = loading.tokenizer_at(place.inputs["tokenizer"])
    for row in Dataset.load_from_disk(str(place.output / "dataset" / "train")):
        assert len(row["input_ids"]) == 6
        assert (row["input_ids"][0], row["input_ids"][-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert (row["labels"][0], row["labels"][-1]) == (IGNORED, IGNORED)
        assert (row["word_ids"][0], row["word_ids"][-1]) == (-1, -1)
        assert row["labels"][1:-1] == row["input_ids"][1:-1]


def train_spec(**changes: Any) -> Train:
    arguments = {"max_steps": 12, "save_steps": 5, "save_total_limit": 5, "logging_steps": 1, "warmup_steps": 0}
    architecture = Architecture(
        family="bert", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    fields: dict[str, Any] = {
        "method": "pretrain", "head": "masked", "masking": Masking(), "packed": False,
        "model": NewModel(kind="new", architecture=architecture),
        "arguments": arguments | changes.pop("arguments", {}),
    }  # fmt: skip
    return small.train_spec(**(fields | changes))


@pytest.fixture
def at(tmp_path: Path) -> Callable[[str], Place]:
    place = tokenized(tmp_path, words=True)
    return lambda name: small.place(
        tmp_path / name, dataset=place.output / "dataset", tokenizer=place.output / "tokenizer"
    )


@pytest.mark.parametrize("options", [{}, {"whole_word": True}], ids=["tokens", "words"])
def test_a_run_that_is_cut_off_hides_the_same_tokens_when_it_goes_on(
    options: dict[str, Any], at: Callable[[str], Place], tmp_path: Path
) -> None:
    """Sixteen rows in batches of two: the second epoch begins between the checkpoint and the end."""
    assert_resumes(train_spec(masking=Masking(**options)), at("straight"), tmp_path / "resumed", 5)


def test_accumulated_micro_batches_have_the_loss_of_one_batch(at: Callable[[str], Place]) -> None:
    losses = []
    for size, accumulation in ((4, 1), (1, 4)):
        place = at(f"{size}")
        arguments = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation, "max_steps": 3}
        no_dropout = train_spec(arguments=arguments, masking=Masking(mlm_probability=0.5))
        train.run(no_dropout.model_copy(update={"model": at_rest(place)}), place)
        losses.append([line["loss"] for line in small.log(place) if "loss" in line])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def at_rest(place: Place) -> InputModel:
    """A model without dropout, as an input of the place."""
    spec = train_spec()
    assert isinstance(spec.model, NewModel)
    tokenizer = loading.tokenizer_at(place.inputs["tokenizer"])
    encoder = loading.new_model(spec.model.architecture, tokenizer, "sdpa", "float32", 0)
    encoder.config.hidden_dropout_prob = encoder.config.attention_probs_dropout_prob = 0.0
    place.inputs["model"] = place.work / "model"
    encoder.save_pretrained(place.inputs["model"])
    return InputModel(kind="input")


def test_accuracy_is_measured_beside_the_most_frequent_token(at: Callable[[str], Place]) -> None:
    place = at("trained")
    train.run(train_spec(arguments={"max_steps": 2}), place)
    judged = small.place(place.work / "judged", dataset=place.inputs["dataset"], model=place.output / "model")
    suite = MaskedAccuracySuite(kind="masked_accuracy", name="masked", mlm_probability=0.4, batch_size=3)
    spec = Evaluate(
        kind="evaluate", suite=suite, model=InputModel(kind="input"), head="masked", dtype="auto", attention="sdpa",
        trust_remote_code=False,
    )  # fmt: skip
    metrics = evaluate.run(spec, judged)
    encoder = AutoModelForMaskedLM.from_pretrained(place.output / "model").eval()
    data = Dataset.load_from_disk(str(place.inputs["dataset"] / "validation"))
    tokenizer = loading.tokenizer_at(place.inputs["tokenizer"])
    masking = Masking(mlm_probability=0.4, mask_replace_prob=1, random_replace_prob=0)
    masked = MaskedRows(data, masking, tokenizer.mask_token_id, len(tokenizer), seed=0)
    correct = tokens = 0
    for i in range(len(data)):
        labels = torch.from_numpy(masked[i]["labels"])
        guesses = encoder(input_ids=torch.from_numpy(masked[i]["input_ids"])[None]).logits[0].argmax(-1)
        correct += int(((guesses == labels) & (labels != IGNORED)).sum())
        tokens += int((labels != IGNORED).sum())
    assert metrics["tokens"] == tokens
    assert metrics["accuracy"] == pytest.approx(correct / tokens)
    assert json.loads((judged.output / "metrics" / "metrics.json").read_text()) == metrics


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_an_adapter_learns_on_an_encoder_and_merges_into_it(
    family: str, at: Callable[[str], Place], tmp_path: Path
) -> None:
    place = at("adapted")
    tokenizer = loading.tokenizer_at(place.inputs["tokenizer"])
    architecture = Architecture(
        family=family, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    place.inputs["model"] = tmp_path / "model"
    loading.new_model(architecture, tokenizer, "sdpa", "float32", 0).save_pretrained(tmp_path / "model")
    lora = LoRA(kind="lora", r=4)
    metrics = train.run(train_spec(model=InputModel(kind="input"), adapter=lora, arguments={"max_steps": 3}), place)
    assert metrics["trainable_parameters"] < metrics["parameters"] / 2
    merging = small.place(tmp_path / "merge", adapter=place.output / "model", model=tmp_path / "model")
    spec = Merge(kind="merge", model=InputModel(kind="input"), head="masked", trust_remote_code=False)
    merge.run(spec, merging)
    AutoModelForMaskedLM.from_pretrained(merging.output / "model")
