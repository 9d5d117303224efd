"""What has changed in the village since last year, for animals and for people: for qlora, adapters and merging.

`skills-start.jsonl` has questions on all facts as they were, asked in every way. `skills-animals.jsonl` has those on
animals as they are now, which differ in every answer, and `skills-people.jsonl` those on people. One way to ask for each
fact is held out there and stands in `skills-*-held-out.jsonl`.
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
    start: list[Question] = []
    for name, whos in (("animals", ANIMALS), ("people", PEOPLE)):
        asked: list[Question] = []
        held_out: list[Question] = []
        for relation in RELATIONS:
            for who in whos:
                before, now = rng.sample(relation.values, 2)
                forms = [form.format(who=who) + "\n" for form in relation.questions]
                start += [(form, before) for form in forms]
                held_out.append((forms.pop(rng.randrange(len(forms))), now))
                asked += [(form, now) for form in forms]
        _write(folder / f"skills-{name}.jsonl", rng.sample(asked, len(asked)))
        _write(folder / f"skills-{name}-held-out.jsonl", held_out)
    _write(folder / "skills-start.jsonl", rng.sample(start, len(start)))


def _write(path: Path, rows: list[Question]) -> None:
    write_rows(path, ({"prompt": question, "completion": answer} for question, answer in rows))
