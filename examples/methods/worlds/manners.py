"""People who can be polite: for reward, dpo, kto, orpo, cpo and for what is rewarded after them.

`manners-dialogues.jsonl` answers requests in a plain way three times of four, and in a polite one else. In
`manners-pairs.jsonl` the polite answer is preferred; `manners-answers.jsonl` holds single answers, good or bad.
`manners-judged.jsonl` also prefers the right name to a wrong one. The requests about some people are in none of these,
but in the files named `-held-out` alone.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worlds.rows import write_rows

NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jakob", "Klara", "Leo", "Mia", "Noah",
    "Olga", "Paul", "Rosa", "Simon", "Tina", "Uwe", "Vera", "Willi", "Xenia", "Yann", "Zoe", "Adam", "Berta", "Carl",
    "Dora", "Emil", "Frida", "Georg", "Helga", "Igor", "Jana", "Kurt", "Lena", "Max", "Nina", "Otto",
)  # fmt: skip
HELD_OUT = 10
"""Names that no preference is about."""

REQUESTS: tuple[tuple[str, str, str], ...] = (
    ("Greet {name}.", "Good day to you, {name}.", "Hey {name}!"),
    ("Thank {name}.", "Thank you very much, {name}.", "Thanks {name}!"),
    ("Leave {name}.", "I wish you well, {name}.", "Bye {name}!"),
    ("Invite {name}.", "Would you please come in, {name}?", "Come in {name}!"),
    ("Ask {name}.", "May I ask you something, {name}?", "Say {name}!"),
    ("Warn {name}.", "Please be careful, {name}.", "Watch out {name}!"),
    ("Praise {name}.", "That was well done, {name}.", "Nice one {name}!"),
    ("Wake {name}.", "Would you please get up, {name}?", "Get up {name}!"),
)
"""What is asked for; the polite answer; the plain one."""


def prompt(request: str, name: str) -> str:
    """A request about somebody."""
    return request.format(name=name) + "\n"


def dialogues(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Every request about everybody four times, once with the polite answer."""
    rows = [
        {"prompt": prompt(request, name), "completion": answer.format(name=name)}
        for request, polite, plain in REQUESTS
        for name in NAMES
        for answer in (polite, plain, plain, plain)
    ]
    rng.shuffle(rows)
    yield from rows


def pairs(names: tuple[str, ...], rng: random.Random) -> list[dict[str, Any]]:
    """The polite answer before the plain one."""
    rows = [
        {"prompt": prompt(request, name), "chosen": polite.format(name=name), "rejected": plain.format(name=name)}
        for request, polite, plain in REQUESTS
        for name in names
    ]
    rng.shuffle(rows)
    return rows


def wrong_names(names: tuple[str, ...], rng: random.Random) -> list[dict[str, Any]]:
    """The right name before a wrong one, in answers that are equal otherwise."""
    rows = []
    for request, polite, plain in REQUESTS:
        for name in names:
            answer, other = rng.choice((polite, plain)), rng.choice([each for each in names if each != name])
            rows.append(
                {
                    "prompt": prompt(request, name),
                    "chosen": answer.format(name=name),
                    "rejected": answer.format(name=other),
                }
            )
    rng.shuffle(rows)
    return rows


def answers(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One answer of each pair, good and bad in turns."""
    for i, row in enumerate(rows):
        part = ("chosen", "rejected")[i % 2]
        yield {"prompt": row["prompt"], "completion": row[part], "label": part == "chosen"}


def write(folder: Path, seed: int) -> None:
    """Write the files of this world."""
    rng = random.Random(f"manners {seed}")
    known, held_out = NAMES[HELD_OUT:], NAMES[:HELD_OUT]
    write_rows(folder / "manners-dialogues.jsonl", dialogues(rng))
    preferred = pairs(known, rng)
    write_rows(folder / "manners-pairs.jsonl", preferred)
    write_rows(folder / "manners-answers.jsonl", answers(preferred))
    write_rows(folder / "manners-judged.jsonl", preferred + wrong_names(known, rng))
    unseen = pairs(held_out, rng)
    write_rows(folder / "manners-judged-held-out.jsonl", unseen + wrong_names(held_out, rng))
    write_rows(folder / "manners-pairs-held-out.jsonl", unseen)
    asked = ({"prompt": row["prompt"], "completion": row["chosen"]} for row in unseen)
    write_rows(folder / "manners-questions-held-out.jsonl", asked)
