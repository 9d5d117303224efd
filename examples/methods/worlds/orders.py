"""Orders of a greengrocer, noted in one of three ways: for the methods that learn from rewards.

`orders.jsonl` holds orders with notes in all three ways, as they were found. `orders-prompts.jsonl` and
`orders-held-out.jsonl` hold other orders, with the note that is wanted as a line (`line`) and as JSON (`json`).
"""

import json
import random
from pathlib import Path

from worlds.rows import write_rows

FRUITS = [
    "apples", "pears", "plums", "figs", "limes", "lemons", "melons", "grapes", "dates", "kiwis", "leeks", "beets",
    "onions", "beans", "peas", "carrots",
]  # fmt: skip
LARGEST = 40
DEMONSTRATIONS, PROMPTS, HELD_OUT = 480, 100, 60
"""Orders; no two are equal."""
PLAIN, LINE = 0.6, 0.8
"""Notes are `3 pears` up to the first share, `pears: 3` up to the second, and JSON beyond."""


def write(folder: Path, seed: int) -> None:
    """Write the three files."""
    chance = random.Random(f"orders {seed}")
    orders = [(count, fruit) for count in range(1, LARGEST + 1) for fruit in FRUITS]
    chance.shuffle(orders)
    shown, asked = orders[:DEMONSTRATIONS], orders[DEMONSTRATIONS:]
    demonstrations = []
    for count, fruit in shown:
        share = chance.random()
        note = f"{count} {fruit}" if share < PLAIN else _line(count, fruit) if share < LINE else _json(count, fruit)
        demonstrations.append({"prompt": _prompt(count, fruit), "completion": f" {note}"})
    prompts = [
        {"prompt": _prompt(count, fruit), "line": _line(count, fruit), "json": _json(count, fruit)}
        for count, fruit in asked
    ]
    write_rows(folder / "orders.jsonl", demonstrations)
    write_rows(folder / "orders-prompts.jsonl", prompts[:PROMPTS])
    write_rows(folder / "orders-held-out.jsonl", prompts[PROMPTS : PROMPTS + HELD_OUT])


def _prompt(count: int, fruit: str) -> str:
    return f"Order: {count} {fruit}\nNote:"


def _line(count: int, fruit: str) -> str:
    return f"{fruit}: {count}"


def _json(count: int, fruit: str) -> str:
    return json.dumps({"item": fruit, "count": count})
