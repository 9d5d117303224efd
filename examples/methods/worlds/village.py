"""A village of animals, each with a home, a food and a colour: for pretrain, mlm, sft, curriculum and ewc.

Every fact is said in `village-text.jsonl`. `village-dialogues.jsonl` and `village-prompts.jsonl` ask for it in most of
the ways in which one can ask; for every second fact one way is held out and stands in `village-questions.jsonl` alone.
`village-trades.jsonl` is text on people, in the same words with other facts; `village-trades-held-out.jsonl` is more
of it, and `village-people-prompts.jsonl` asks for these facts.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worlds.rows import write_rows

ANIMALS = ["fox", "owl", "bear", "hare", "frog", "wolf", "crow", "deer", "goat", "mole", "duck", "swan"]
PEOPLE = ["baker", "miller", "smith", "weaver", "tailor", "farmer", "fisher", "hunter", "potter", "mason"]
TEXTS, TRADES, HELD_OUT = 700, 500, 60
"""Rows of text."""
SENTENCES = 4
"""Of a row of text."""


@dataclass(frozen=True)
class Relation:
    """What can be said of an animal or a person, and asked."""

    values: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]


RELATIONS = (
    Relation(
        ("forest", "river", "meadow", "barn", "cave", "garden"),
        ("The {who} lives in the {what}.", "The home of the {who} is the {what}."),
        ("Where does the {who} live?", "What is the home of the {who}?", "Where is the {who} at home?"),
    ),
    Relation(
        ("bread", "fish", "corn", "apples", "honey", "cheese"),
        ("The {who} likes {what}.", "The {who} always eats {what}."),
        ("What does the {who} like?", "What does the {who} eat?", "Which food does the {who} like?"),
    ),
    Relation(
        ("red", "blue", "green", "white", "black", "brown"),
        ("The {who} has a {what} house.", "The house of the {who} is {what}."),
        ("Which house does the {who} have?", "What is the colour of the {who}?", "Which colour has the {who}?"),
    ),
)


@dataclass(frozen=True)
class Fact:
    """One thing that is so, the ways to ask for it, and the way that is held out."""

    statements: list[str]
    questions: list[str]
    held_out: str | None
    answer: str


def facts(whos: list[str], rng: random.Random) -> list[Fact]:
    """Every relation of everybody."""
    found = []
    for relation in RELATIONS:
        for i, who in enumerate(whos):
            what = rng.choice(relation.values)
            questions = [form.format(who=who) for form in relation.questions]
            held_out = rng.choice(questions) if i % 2 else None
            statements = [form.format(who=who, what=what) for form in relation.statements]
            found.append(Fact(statements, [q for q in questions if q != held_out], held_out, what))
    return found


def text(facts: list[Fact], count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Rows of a few sentences each."""
    for _ in range(count):
        yield {"text": " ".join(rng.choice(fact.statements) for fact in rng.sample(facts, SENTENCES))}


def questions(facts: list[Fact], rng: random.Random) -> list[tuple[str, str]]:
    """Every question that is not held out, with its answer."""
    asked = [(question, fact.answer) for fact in facts for question in fact.questions]
    return rng.sample(asked, len(asked))


def messages(question: str, answer: str) -> dict[str, Any]:
    """A conversation of two turns."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write(folder: Path, seed: int) -> None:
    """Write the files of this world."""
    rng = random.Random(f"village {seed}")
    animals, trades = facts(ANIMALS, rng), facts(PEOPLE, rng)
    write_rows(folder / "village-text.jsonl", text(animals, TEXTS, rng))
    write_rows(folder / "village-trades.jsonl", text(trades, TRADES, rng))
    write_rows(folder / "village-trades-held-out.jsonl", text(trades, HELD_OUT, rng))
    asked = questions(animals, rng)
    write_rows(folder / "village-dialogues.jsonl", (messages(*pair) for pair in asked))
    write_rows(folder / "village-prompts.jsonl", ({"prompt": q + "\n", "completion": a} for q, a in asked))
    held_out = [(fact.held_out, fact.answer) for fact in animals if fact.held_out is not None]
    write_rows(folder / "village-questions.jsonl", (messages(*pair) for pair in held_out))
    write_rows(folder / "village-held-out-prompts.jsonl", ({"prompt": q + "\n", "completion": a} for q, a in held_out))
    people = [(question, fact.answer) for fact in trades for question in (*fact.questions, fact.held_out) if question]
    write_rows(folder / "village-people-prompts.jsonl", ({"prompt": q + "\n", "completion": a} for q, a in people))
