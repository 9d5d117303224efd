"""Stories in which every sentence follows from the one before: for distillation.

A row of `stories.jsonl` is the first sentence of a story, and what follows; `stories-held-out.jsonl` is more of it.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worlds.rows import write_rows

WHO = ("fox", "owl", "bear", "hare", "frog", "wolf", "crow", "deer", "goat", "mole")
WHERE = ("forest", "river", "meadow", "barn", "cave", "garden", "hill", "road")
DOES = ("sees", "meets", "follows", "fears", "likes")
ROWS, HELD_OUT, SENTENCES = 1000, 100, 4


def story(rng: random.Random) -> dict[str, Any]:
    """Who is met in a sentence acts in the next one, most often in a place that is two further on."""
    who, where = rng.choice(WHO), rng.randrange(len(WHERE))
    sentences = []
    for _ in range(SENTENCES):
        # What somebody does depends on who it is and, one time of four, on chance.
        usual = DOES[WHO.index(who) % len(DOES)]
        other = rng.choice([each for each in WHO if each != who])
        does = usual if rng.random() < 0.75 else rng.choice(DOES)
        sentences.append(f"In the {WHERE[where]} the {who} {does} the {other}.")
        who = other
        where = (where + 2) % len(WHERE) if rng.random() < 0.9 else rng.randrange(len(WHERE))
    return {"prompt": sentences[0], "completion": " " + " ".join(sentences[1:])}


def stories(count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """That many stories."""
    return (story(rng) for _ in range(count))


def write(folder: Path, seed: int) -> None:
    """Write the files of this world."""
    rng = random.Random(f"stories {seed}")
    write_rows(folder / "stories.jsonl", stories(ROWS, rng))
    write_rows(folder / "stories-held-out.jsonl", stories(HELD_OUT, rng))
