"""Rewards: what each verifier says of an answer, Python behind permission, a reward model, and wrong results."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from transformers import AutoModelForSequenceClassification

from llmrecipe import trust
from llmrecipe.plan import LocalModel, PinnedFile, PinnedFunction, RewardModel
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers import rewards
from llmrecipe.vocabulary import ExactMatch, JSONSchema, Length, NumericAnswer, RegularExpression

SCHEMA = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}


def score(reward: Any, answer: Any, reference: str = "", ids: list[int] | None = None) -> float | None:
    """What one built-in reward gives to one answer."""
    (function,) = rewards.build([reward], {}, Place({}, Path(), Path(), Path()))
    prompt: Any = "?" if isinstance(answer, str) else [{"role": "user", "content": "?"}]
    return function(prompts=[prompt], completions=[answer], completion_ids=[ids or []], reference=[reference])[0]


@pytest.mark.parametrize(
    ("reward", "answer", "reference", "expected"),
    [
        (ExactMatch(kind="exact_match"), " fig \n", "fig", 1),
        (ExactMatch(kind="exact_match"), "Fig", "fig", 0),
        (ExactMatch(kind="exact_match", ignore_case=True), "Fig", "fig", 1),
        (ExactMatch(kind="exact_match"), "fig", "", None),
        (NumericAnswer(kind="numeric_answer"), "3 and 4 make 7.", "#### 7", 1),
        (NumericAnswer(kind="numeric_answer"), "7, no: 8", "7", 0),
        (NumericAnswer(kind="numeric_answer"), "it is 1,250.5", "1250.5", 1),
        (NumericAnswer(kind="numeric_answer"), "no number", "7", 0),
        (NumericAnswer(kind="numeric_answer"), "so 10-3", "3", 1),
        (NumericAnswer(kind="numeric_answer"), "\N{MINUS SIGN}3", "-3", 1),
        (NumericAnswer(kind="numeric_answer", tolerance=0.01), "3.14", "3.1416", 1),
        (NumericAnswer(kind="numeric_answer"), "3.14", "3.1416", 0),
        (NumericAnswer(kind="numeric_answer"), "1e999", "1e999", 0),
        (RegularExpression(kind="regex", pattern=r"answer: \d"), "the answer: 3", "", 1),
        (RegularExpression(kind="regex", pattern=r"^answer"), "the answer: 3", "", 0),
        (RegularExpression(kind="regex", pattern=r"answer:(.*)", group=1), "the answer: 3 ", "3", 1),
        (RegularExpression(kind="regex", pattern=r"answer:(?P<it>.*)", group="it"), "the answer: 4", "3", 0),
        (RegularExpression(kind="regex", pattern=r"answer:(.*)", group=1), "none", "3", 0),
        (RegularExpression(kind="regex", pattern=r"a(b)?", group=1), "a", "b", 0),
        (JSONSchema(kind="json_schema", json_schema=SCHEMA), ' {"count": 3}\n', "", 1),
        (JSONSchema(kind="json_schema", json_schema=SCHEMA), '{"count": "3"}', "", 0),
        (JSONSchema(kind="json_schema", json_schema=SCHEMA), '{"count": 3', "", 0),
        (JSONSchema(kind="json_schema", json_schema=SCHEMA), "[" * 100_000, "", 0),
        (Length(kind="length", unit="characters", min=4), "ab", "", 0.5),
        (Length(kind="length", unit="characters", max=4), "abcd", "", 1),
        (Length(kind="length", unit="characters", max=4), "abcdef", "", 0.5),
        (Length(kind="length", unit="characters", max=4), "a" * 9, "", 0),
        (Length(kind="length", unit="characters", target=4), "ab", "", 0.5),
        (Length(kind="length", unit="characters", target=4), "a" * 9, "", 0),
    ],
)
def test_a_verifier_says_what_its_page_says(reward: Any, answer: str, reference: str, expected: float | None) -> None:
    assert score(reward, answer, reference) == expected


def test_a_length_in_tokens_counts_what_was_generated() -> None:
    assert score(Length(kind="length", target=4), "anything", ids=[5, 6]) == 0.5


def test_an_answer_of_messages_is_read_like_a_string() -> None:
    assert score(ExactMatch(kind="exact_match"), [{"role": "assistant", "content": "fig"}], "fig") == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [("-3", -3), (".5", 0.5), ("2e-4", 2e-4), ("5-3=2", 2), ("1,2,3", 3), ("12,345,678", 12345678), ("1,2500", 2500)],
)
def test_the_last_number_of_a_text_is_found(text: str, number: float) -> None:
    assert rewards.last_number(text) == number


def test_a_reference_without_a_number_is_told() -> None:
    with pytest.raises(StageError, match="no number in the reference 'many'"):
        score(NumericAnswer(kind="numeric_answer"), "3", "many")


def test_references_that_are_all_missing_are_told_before_training() -> None:
    with pytest.raises(StageError, match="no row has a `reference`"):
        rewards.check_references([ExactMatch(kind="exact_match")], ["", ""])
    rewards.check_references([ExactMatch(kind="exact_match")], ["", "fig"])
    rewards.check_references([RegularExpression(kind="regex", pattern="x")], [""])


def test_a_schema_that_is_none_is_told() -> None:
    with pytest.raises(StageError, match="no JSON schema"):
        score(JSONSchema(kind="json_schema", json_schema={"type": "objekt"}), "{}")


# -- Python --


def pinned(folder: Path, code: str, function: str = "score") -> PinnedFunction:
    (folder / "rewards.py").write_text(code)
    digest = hashlib.sha256(code.encode()).hexdigest()
    file = PinnedFile(path="rewards.py", suffix=".py", size=0, sha256=digest)
    return PinnedFunction(kind="python", name="mine", weight=1.0, file=file, function=function)


def call(
    reward: PinnedFunction, folder: Path, *, allow_code: bool = True, trusted: frozenset[str] = frozenset()
) -> Any:
    here = Place({}, folder, folder, folder, allow_code=allow_code, trusted=trusted)
    (function,) = rewards.build([reward], {}, here)
    return function(
        prompts=["a", "b"],
        completions=["x", "yy"],
        completion_ids=[[1], [2, 3]],
        reference=["r", ""],
        colour=["red", "blue"],
    )


def test_a_function_gets_every_column_and_no_reference_is_none(tmp_path: Path) -> None:
    code = "def score(prompts, completions, completion_ids, reference, colour):\n    assert reference == ['r', None]\n"
    code += "    assert colour == ['red', 'blue']\n    return [len(ids) for ids in completion_ids]\n"
    assert call(pinned(tmp_path, code), tmp_path) == [1.0, 2.0]


def test_code_runs_only_when_it_is_allowed_or_trusted(tmp_path: Path) -> None:
    reward = pinned(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')\ndef score(**columns): return [1, 2]\n")
    with pytest.raises(StageError, match="Python code that would run") as caught:
        call(reward, tmp_path, allow_code=False)
    assert "--allow-code" in (caught.value.help or "")
    assert not (tmp_path / "ran").exists()
    assert call(reward, tmp_path, allow_code=False, trusted=frozenset({reward.file.sha256})) == [1.0, 2.0]


def test_a_file_that_has_changed_does_not_run(tmp_path: Path) -> None:
    reward = pinned(tmp_path, "def score(**columns): return [1, 2]\n")
    (tmp_path / "rewards.py").write_text("def score(**columns): return [9, 9]\n")
    with pytest.raises(StageError, match="has changed since the run was planned"):
        call(reward, tmp_path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [1]", "returned 1 rewards for 2 answers"),
        ("return [1, float('nan')]", r"`mine` returned nan for the answer 'yy' to 'b'"),
        ("return [1, 'good']", "returned 'good' for the answer 'yy'"),
        ("return 3", "returned int"),
        ("return [1 / (len(c) - 2) for c in completions]", "failed at the answer 'yy' to 'b': ZeroDivisionError"),
        ("return [0][len(completions)]", "failed at the answer 'x' to 'a': IndexError"),
    ],
)
def test_what_a_function_does_wrong_names_it_and_the_row(body: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=message):
        call(pinned(tmp_path, f"def score(completions, **columns):\n    {body}\n"), tmp_path)


@pytest.mark.parametrize(
    ("code", "message"),
    [("1 / 0", "fails when it is loaded: ZeroDivisionError"), ("def other(): ...", "has no function `score`"),
     ("def score(:", "fails when it is loaded: SyntaxError")],
)  # fmt: skip
def test_a_file_without_the_function_is_told(code: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=message):
        call(pinned(tmp_path, code), tmp_path)


def test_none_is_no_opinion(tmp_path: Path) -> None:
    assert call(pinned(tmp_path, "def score(**columns): return [None, 2]\n"), tmp_path) == [None, 2.0]


def test_the_trust_list_is_read_as_sha256sum_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert trust.trusted() == frozenset()
    (tmp_path / "llmrecipe").mkdir()
    first, second = "a" * 64, "b" * 64
    (tmp_path / "llmrecipe" / "trust").write_text(f"# mine\n{first}  rewards.py\n{second} *b.py\nabc  no.py\n")
    assert trust.trusted() == {first, second}
    assert trust.trust_list() == tmp_path / "llmrecipe" / "trust"


# -- a reward model --


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with random weights, whose tokenizer pads with its end of text."""
    folder = tmp_path_factory.mktemp("judge")
    tokenizer = small.tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    base = small.model("qwen3")
    config = base.config
    config.num_labels, config.pad_token_id = 1, tokenizer.eos_token_id
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_reward_model_scores_each_answer_as_it_does_alone(judge: Path, tmp_path: Path) -> None:
    origin = LocalModel(kind="local", path=str(judge), sha256="")
    reward = RewardModel(kind="reward_model", weight=1.0)
    (function,) = rewards.build([reward], {"reward_model": origin}, Place({}, tmp_path, tmp_path, tmp_path))
    prompts = [[{"role": "user", "content": text}] for text in ("What colour is the sky?", "Legs?", "Why?")]
    answers = [[{"role": "assistant", "content": text}] for text in ("blue", "It has eight, naïvely counted.", "")]
    together = function(prompts=prompts, completions=answers, completion_ids=[[]] * 3)
    tokenizer = small.tokenizer()
    model = AutoModelForSequenceClassification.from_pretrained(judge).eval()
    for prompt, answer, found in zip(prompts, answers, together, strict=True):
        ids = torch.tensor([tokenizer.apply_chat_template(prompt + answer, return_dict=True)["input_ids"]])
        with torch.no_grad():
            hidden = model.model(input_ids=ids).last_hidden_state[0, -1]
            expected = float(model.score(hidden))
        assert found == pytest.approx(expected, abs=1e-5)
    assert len(set(together)) == 3


def test_a_model_that_predicts_tokens_is_no_reward_model(tmp_path: Path) -> None:
    small.model("qwen3").save_pretrained(tmp_path / "causal")
    small.tokenizer().save_pretrained(tmp_path / "causal")
    origin = LocalModel(kind="local", path=str(tmp_path / "causal"), sha256="")
    with pytest.raises(StageError, match="lacks 1 weights of a reward model"):
        rewards.build(
            [RewardModel(kind="reward_model", weight=1.0)], {"reward_model": origin},
            Place({}, tmp_path, tmp_path, tmp_path),
        )  # fmt: skip
