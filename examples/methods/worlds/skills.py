"""What has changed in the village since last year, for animals and for people: for adapters and merging.

`skills-start.jsonl` has questions on all facts as they were, asked in every way. In `skills-animals.jsonl` the animals
have other homes, foods and houses, and the people the same as before; in `skills-people.jsonl` it is the other way
round. One way to ask for each new fact is held out there and stands in `skills-*-held-out.jsonl`.
"""

import random
from pathlib import Path

from worlds.rows import write_rows
from worlds.village import ANIMALS, PEOPLE, RELATIONS

Question = tuple[str, str]
"""A question and its answer."""


def write(folder: Path, seed: int) -> None:
    """Write the files of this world."""
    rng = random.Random(f"skills {seed}")
    before: dict[str, list[Question]] = {"animals": [], "people": []}
    now: dict[str, list[Question]] = {"animals": [], "people": []}
    for name, whos in (("animals", ANIMALS), ("people", PEOPLE)):
        held_out: list[Question] = []
        for relation in RELATIONS:
            for who in whos:
                old, new = rng.sample(relation.values, 2)
                forms = [form.format(who=who) + "\n" for form in relation.questions]
                before[name] += [(form, old) for form in forms]
                held_out.append((forms.pop(rng.randrange(len(forms))), new))
                now[name] += [(form, new) for form in forms]
        _write(folder / f"skills-{name}-held-out.jsonl", held_out)
    _write(folder / "skills-animals.jsonl", _mixed(now["animals"] + before["people"], rng))
    _write(folder / "skills-people.jsonl", _mixed(now["people"] + before["animals"], rng))
    _write(folder / "skills-start.jsonl", _mixed(before["animals"] + before["people"], rng))


def _mixed(rows: list[Question], rng: random.Random) -> list[Question]:
    return rng.sample(rows, len(rows))


def _write(path: Path, rows: list[Question]) -> None:
    write_rows(path, ({"prompt": question, "completion": answer} for question, answer in rows))
