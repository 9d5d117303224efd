"""A small world that a small model can learn: the text, the dialogues and the held-out questions of the quickstart.

Every fact of `facts.yaml`, of the calendar and of the numbers is stated in `text.txt`, and there people ask each other
for it. `dialogues.jsonl` asks for it in most of the ways in which one can ask. For every second fact one way is held
out: it stands in `questions.jsonl` and nowhere else, so that a model that answers it has learned the way of asking from
other facts, and the fact from other questions.

Run it to write these files again; the same seed gives the same bytes.
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

SEED = 2026
CHARACTERS = 300_000
"""Size of the text."""
SENTENCES = (3, 8)
"""Fewest and most sentences of a paragraph."""

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
NAMES = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jakob", "Klara", "Leo"]
STORIES = (
    "{one} asks: {question} {other} says: {answer}",
    "{one} wants to know: {question} {other} answers: {answer}",
)


@dataclass(frozen=True)
class Fact:
    """One thing that is so: how it is said, in which ways one asks for it, and which of these is held out."""

    statements: list[str]
    questions: list[str]
    held_out: str | None
    answer: str

    @property
    def asked(self) -> list[str]:
        """The questions that may be learned from."""
        return [question for question in self.questions if question != self.held_out]


def world(rng: random.Random) -> list[Fact]:
    """All facts; every second one holds out a question."""
    relations = yaml.safe_load((Path(__file__).parent / "facts.yaml").read_text(encoding="utf-8"))
    named = [
        (relation, {"subject": str(subject), "object": str(object_)})
        for name, relation in relations.items()
        for subject, object_ in _counted(name) or _listed(relation)
    ]
    facts = []
    for i, (relation, words) in enumerate(named):
        statements, questions = (
            [form.format(**words) for form in relation[key]] for key in ("statements", "questions")
        )
        held_out = rng.choice(questions) if i % 2 else None
        facts.append(Fact([_sentence(s) for s in statements], questions, held_out, f"It is {words['object']}."))
    return facts


def _counted(name: str) -> list[tuple[str, str]]:
    """The facts that nobody has to write down."""
    match name:
        case "day after":
            return list(zip(DAYS, DAYS[1:] + DAYS[:1], strict=True))
        case "month after":
            return list(zip(MONTHS, MONTHS[1:] + MONTHS[:1], strict=True))
        case "number after":
            return list(pairwise(map(str, range(21))))
        case "sum":
            return [(f"{i} plus {j}", str(i + j)) for i in range(5) for j in range(5)]
    return []


def _listed(relation: dict[str, Any]) -> list[tuple[str, str]]:
    facts = list(relation["facts"].items())
    return facts + [(b, a) for a, b in facts] if relation.get("both_ways") else facts


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def text(facts: list[Fact], rng: random.Random) -> str:
    """Paragraphs that say every fact again and again: plain sentences, and people who ask each other."""
    paragraphs: list[str] = []
    said = _again_and_again(facts, rng)
    size = 0
    while size < CHARACTERS:
        say = _story if rng.random() < 0.6 else _statement
        paragraphs.append(" ".join(say(next(said), rng) for _ in range(rng.randint(*SENTENCES))) + "\n")
        size += len(paragraphs[-1]) + 1
    return "\n".join(paragraphs)


def _again_and_again(facts: list[Fact], rng: random.Random) -> Iterator[Fact]:
    while True:
        yield from rng.sample(facts, len(facts))


def _statement(fact: Fact, rng: random.Random) -> str:
    return rng.choice(fact.statements)


def _story(fact: Fact, rng: random.Random) -> str:
    one, other = rng.sample(NAMES, 2)
    question = rng.choice(fact.asked)
    return rng.choice(STORIES).format(one=one, other=other, question=question, answer=fact.answer)


def dialogues(facts: list[Fact], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Every question that is not held out with its answer, one or two to a conversation."""
    asked = [(question, fact.answer) for fact in facts for question in fact.asked]
    rng.shuffle(asked)
    while asked:
        turns, asked = asked[: (count := rng.randint(1, 2))], asked[count:]
        yield {"messages": [message for turn in turns for message in _messages(*turn)]}


def questions(facts: list[Fact]) -> Iterator[dict[str, Any]]:
    """The held-out questions with their answers."""
    return ({"messages": _messages(fact.held_out, fact.answer)} for fact in facts if fact.held_out is not None)


def _messages(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def main(folder: Path) -> None:
    """Write `text.txt`, `dialogues.jsonl` and `questions.jsonl`."""
    rng = random.Random(SEED)
    facts = world(rng)
    folder.mkdir(exist_ok=True)
    (folder / "text.txt").write_text(text(facts, rng), encoding="utf-8")
    for name, rows in (("dialogues", dialogues(facts, rng)), ("questions", questions(facts))):
        lines = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the data of the quickstart.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "data")
    main(parser.parse_args().folder)
