"""Perplexity and generated answers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import small
import tiny
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from llmrecipe.plan import DataSource, Evaluate, GenerationSuite, NewModel, PerplexitySuite, PinnedFile, PinnedFiles
from llmrecipe.stages import evaluate
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.stopping import cut, end_of_turn, stop_tokens


def spec(suite: PerplexitySuite | GenerationSuite, **changes: Any) -> Evaluate:
    fields = {
        "kind": "evaluate",
        "model": small.INPUT,
        "dtype": "auto",
        "attention": "sdpa",
        "trust_remote_code": False,
    }
    return Evaluate(suite=suite, **(fields | changes))


def perplexity(batch_size: int = 2) -> PerplexitySuite:
    return PerplexitySuite(kind="perplexity", name="perplexity", batch_size=batch_size)


def source(path: str, format_: str = "prompt_completion", **changes: Any) -> DataSource:
    file = PinnedFile(path=path, suffix=".jsonl", size=0, sha256="")
    files = PinnedFiles(kind="files", files=[file], sample_by="document")
    fields = {"columns": {}, "weight": None, "max_samples": None, "label": "evaluation.suites[0].sources[0]"}
    return DataSource(origin=files, format=format_, **(fields | changes))


def generation(*sources: DataSource, **changes: Any) -> GenerationSuite:
    fields = {"kind": "generation", "name": "generation", "max_new_tokens": 40, "batch_size": 4, "stop": []}
    return GenerationSuite(sources=list(sources), **(fields | changes))


def written(folder: Path, rows: list[dict[str, Any]]) -> str:
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return "questions.jsonl"


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned two answers by heart."""
    return tiny.parrot(tmp_path_factory.mktemp("parrot"))


# -- perplexity --


def by_hand(model: Any, rows: list[dict[str, Any]]) -> tuple[float, int]:
    """Sum and number, document by document and token by token."""
    total, count = 0.0, 0
    for row in rows:
        start = 0
        for length in row.get("seq_lengths", [len(row["input_ids"])]):
            ids, labels = (row[name][start : start + length] for name in ("input_ids", "labels"))
            start += length
            with torch.no_grad():
                scores = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
            for at in range(1, length):
                if labels[at] != -100:
                    total -= scores[at - 1, labels[at]].item()
                    count += 1
    return total, count


@pytest.mark.parametrize("rows", [small.packed_rows, small.padded_rows])
def test_perplexity_is_over_every_supervised_token_and_the_batch_size_does_not_matter(
    rows: Any, tmp_path: Path
) -> None:
    folder = small.saved_model(tmp_path / "model", initializer_range=0.5)
    held_out = list(rows(7))
    data = small.dataset(tmp_path / "data", held_out, held_out)
    total, count = by_hand(AutoModelForCausalLM.from_pretrained(folder).eval(), held_out)
    for batch_size in (1, 2, 3, 7):
        place = small.place(tmp_path / str(batch_size), model=folder, dataset=data)
        metrics = evaluate.run(spec(perplexity(batch_size)), place)
        assert metrics["tokens"] == count
        assert metrics["loss"] == pytest.approx(total / count, abs=1e-5)
        assert metrics["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
        assert json.loads((place.output / "metrics" / "metrics.json").read_bytes()) == metrics


def test_without_validation_rows_there_is_no_perplexity(tmp_path: Path) -> None:
    data = small.dataset(tmp_path / "data", list(small.padded_rows(2)))
    place = small.place(tmp_path, model=small.saved_model(tmp_path / "model"), dataset=data)
    with pytest.raises(StageError, match="no validation rows"):
        evaluate.run(spec(perplexity()), place)


def test_an_adapter_is_measured_on_its_base(tmp_path: Path) -> None:
    base = small.saved_model(tmp_path / "base")
    adapted = get_peft_model(small.model(), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    rows = list(small.padded_rows(5))
    data = small.dataset(tmp_path / "data", rows, rows)
    place = small.place(tmp_path / "adapted", model=base, adapter=tmp_path / "adapter", dataset=data)
    total, count = by_hand(adapted.eval(), rows)
    assert evaluate.run(spec(perplexity()), place)["loss"] == pytest.approx(total / count, abs=1e-5)


# -- generation --


def samples(place: Place) -> list[dict[str, Any]]:
    lines = (place.output / "samples" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_what_the_model_knows_is_right_and_what_it_does_not_know_is_wrong(parrot: Path, tmp_path: Path) -> None:
    turns = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in (*tiny.ANSWERS.items(), ("What colour is the sky?", "It is green"))
    ]
    place = small.place(tmp_path, model=parrot)
    metrics = evaluate.run(spec(generation(source(written(tmp_path, turns), "messages"))), place)
    assert metrics["answers"] == 3
    assert metrics["exact_match"] == pytest.approx(2 / 3)
    assert metrics["f1"] == pytest.approx((1 + 1 + 2 / 6) / 3)
    assert [s["answer"] for s in samples(place)] == [
        "The sky is blue.",
        "It has eight, naïvely counted.",
        "The sky is blue.",
    ]
    assert [s["correct"] for s in samples(place)] == [True, True, False]


def test_answers_do_not_depend_on_their_neighbours_in_the_batch(parrot: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "What colour " * n, "completion": "x"} for n in (1, 4, 2, 3, 1)]
    answers = []
    for batch_size in (1, 2, 5):
        place = small.place(tmp_path / str(batch_size), model=parrot)
        suite = generation(source(str(tmp_path / written(tmp_path, rows))), batch_size=batch_size, max_new_tokens=12)
        evaluate.run(spec(suite), place)
        answers.append([s["answer"] for s in samples(place)])
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0][0]) > 0


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(parrot: Path, tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "What colour is the sky?"}]
    rows = [{"prompt": prompt, "completion": [{"role": "assistant", "content": "The sky"}]}]
    place = small.place(tmp_path, model=parrot)
    metrics = evaluate.run(spec(generation(source(written(tmp_path, rows)), stop=[" is", "blue"])), place)
    assert samples(place)[0]["answer"] == "The sky"
    assert metrics["exact_match"] == 1


def test_max_samples_takes_the_same_rows_every_time(parrot: Path, tmp_path: Path) -> None:
    path = written(tmp_path, [{"prompt": str(n), "completion": str(n)} for n in range(30)])
    found = []
    for name in "ab":
        place = small.place(tmp_path / name, model=parrot)
        suite = generation(source(str(tmp_path / path), max_samples=4), max_new_tokens=1)
        assert evaluate.run(spec(suite), place)["answers"] == 4
        found.append([s["prompt"] for s in samples(place)])
    assert found[0] == found[1] == sorted(found[0], key=int)


UNUSABLE = {
    "no answer at the end": (
        [{"messages": [{"role": "user", "content": "x"}]}],
        "messages",
        "does not end with an answer",
    ),
    "plain text": ([{"text": "x"}], "text", "no question with an answer"),
    "too long": ([{"prompt": "x " * 200, "completion": "y"}], "prompt_completion", "128 positions"),
    "nothing": ([], "prompt_completion", "no questions"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_questions_that_cannot_be_asked_are_said(case: str, parrot: Path, tmp_path: Path) -> None:
    rows, format_, message = UNUSABLE[case]
    place = small.place(tmp_path, model=parrot)
    with pytest.raises(StageError, match=message):
        evaluate.run(spec(generation(source(written(tmp_path, rows), format_))), place)


def test_a_model_from_scratch_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no weights before it is trained"):
        evaluate.run(
            spec(perplexity(), model=NewModel(kind="new", architecture=small.architecture())), small.place(tmp_path)
        )


# -- what ends an answer --

TEMPLATES = {
    "chatml": (tiny.TEMPLATE, "<|im_end|>"),
    "none": (None, None),
    "no end of turn": ("{% for m in messages %}<|im_start|>{{ m.content }}\n{% endfor %}", None),
    "pad ends": ("{% for m in messages %}<|im_start|>{{ m.content }}<pad>\n<|im_end|>{% endfor %}", "<pad>"),
    "no content": ("<|im_start|>", None),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_end_of_a_turn_is_the_token_after_its_content(name: str) -> None:
    template, end = TEMPLATES[name]
    tokenizer = small.tokenizer()
    tokenizer.chat_template = template
    assert end_of_turn(tokenizer) == (None if end is None else tokenizer.convert_tokens_to_ids(end))


def test_every_end_counts_once_and_the_tokenizers_comes_first() -> None:
    tokenizer, model = small.tokenizer(), small.model()
    model.generation_config.eos_token_id = [7, tokenizer.eos_token_id]
    tokenizer.chat_template = TEMPLATES["pad ends"][0]
    assert stop_tokens(tokenizer, model) == [tokenizer.eos_token_id, tokenizer.pad_token_id, 7]


def test_a_text_is_cut_before_the_first_of_the_strings() -> None:
    assert cut("one two three", ["three", "two"]) == "one "
    assert cut("one", ["two"]) == "one"
