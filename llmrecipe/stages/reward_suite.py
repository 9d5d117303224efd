"""The suite `reward`: greedy answers to prompts, and what the rewards of a plan say of them."""

import math
from typing import Any

from llmrecipe.plan import Evaluate, RewardSuite
from llmrecipe.stages.answers import Question, chosen_rows, completions, rendered
from llmrecipe.stages.place import Place, StageError
from llmrecipe.trainers import rewards

Samples = list[dict[str, Any]]


def measure(
    spec: Evaluate, suite: RewardSuite, place: Place, model: Any, tokenizer: Any
) -> tuple[dict[str, float], Samples]:
    """Mean rewards of greedy answers, and every answer with what it got.

    Returns:
        `reward`: mean of the weighted sum; the mean of each function under its name, over the answers that it has an
        opinion on; `answer_tokens`: their mean length; `answers`: their number.

    Raises:
        StageError: there is no prompt, a row is not in its format, or a reward cannot be computed.
    """
    functions = rewards.build(suite.rewards, spec.models, place, spec.trust_remote_code)
    asked = _questions(suite, place, tokenizer)
    rewards.check_references(suite.rewards, [question.reference for question in asked])
    ids = completions(model, tokenizer, asked, suite, place)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    answers = [
        text if isinstance(question.prompt, str) else [{"role": "assistant", "content": text}]
        for question, text in zip(asked, texts, strict=True)
    ]
    given = {
        function.__name__: function(
            prompts=[question.prompt for question in asked],
            completions=answers,
            completion_ids=ids,
            reference=[question.reference for question in asked],
        )
        for function in functions
    }
    samples = _samples(asked, texts, given, {reward.name or reward.kind: reward.weight for reward in suite.rewards})
    metrics = {"reward": _mean([sample["reward"] for sample in samples])}
    for name, numbers in given.items():
        if opinions := [number for number in numbers if number is not None]:
            metrics[name] = _mean(opinions)
    return metrics | {"answer_tokens": _mean([len(row) for row in ids]), "answers": float(len(samples))}, samples


def _questions(suite: RewardSuite, place: Place, tokenizer: Any) -> list[Question]:
    found = []
    for where, row in chosen_rows(suite.sources, place.root):
        if set(row) != {"prompt", "reference"}:
            raise StageError(f"{where}: the row is no prompt", "use the format `prompt`")
        asked = row["prompt"]
        ids = tokenizer(asked)["input_ids"] if isinstance(asked, str) else rendered(asked, where, tokenizer)
        found.append(Question(asked, row["reference"], ids))
    return found


def _samples(
    asked: list[Question], texts: list[str], given: dict[str, rewards.Rewards], weights: dict[str, float]
) -> Samples:
    found = []
    for i, (question, text) in enumerate(zip(asked, texts, strict=True)):
        each = {name: numbers[i] for name, numbers in given.items()}
        if all(number is None for number in each.values()):
            raise StageError(
                f"no reward has an opinion on the answer to {rewards.shown(question.prompt)}",
                "give the row a `reference`, or add a reward that needs none",
            )
        total = math.fsum(weights[name] * number for name, number in each.items() if number is not None)
        found.append(
            {
                "prompt": question.prompt,
                "answer": text,
                "reference": question.reference,
                "reward": total,
                "rewards": each,
            }
        )
    return found


def _mean(numbers: list[Any]) -> float:
    return math.fsum(numbers) / len(numbers)
