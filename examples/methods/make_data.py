"""The data of the examples of this folder: every file of `data/`, made from one seed.

Run it to write the files again; the same seed gives the same bytes. `--check` compares instead and writes nothing.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from worlds import manners, orders, skills, stories, village

SEED = 2026
FOLDER = Path(__file__).parent / "data"
WORLDS: tuple[Callable[[Path, int], None], ...] = (
    # One line for each module of `worlds/`: it writes its files into the folder that it is given.
    village.write,
    skills.write,
    manners.write,
    stories.write,
    orders.write,
)


def write(folder: Path) -> None:
    """Write the files of all worlds."""
    folder.mkdir(parents=True, exist_ok=True)
    for world in WORLDS:
        world(folder, SEED)


def differences(folder: Path) -> list[str]:
    """Names of files that are missing, left over, or not what this script makes."""
    with tempfile.TemporaryDirectory() as made:
        write(Path(made))
        wanted = {path.name: path.read_bytes() for path in Path(made).iterdir()}
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the data of the examples.")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--check", action="store_true", help="write nothing: say what differs from this script's work")
    arguments = parser.parse_args()
    if not arguments.check:
        write(arguments.folder)
    elif names := differences(arguments.folder):
        sys.exit(f"not what make_data.py makes: {', '.join(names)}; run it again")
