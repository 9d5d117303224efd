"""What `llmrecipe validate` costs: one recipe against importing pydantic and yaml, and 500 others in one call."""

import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

CORPUS = runpy.run_path(str(Path(__file__).parent.parent / "tests" / "recipe_variants.py"))
REPEATS = 15
RECIPES = 500
LARGEST_RATIO = 6.0
MOST_SECONDS = 5.0  # for RECIPES recipes


class Cost(NamedTuple):
    """What a process took."""

    wall: float
    processor: float
    """Seconds of its threads in all; they say more than the clock where other programs run."""


def cost(command: list[str], folder: str) -> Cost:
    """What a fresh process takes; it may find something, and must not fail."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1), command
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime)


def main() -> int:
    """Print the table; 1 when a bound is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        CORPUS["write_files"](Path(folder))
        (Path(folder) / "recipes").mkdir()
        for number, data in enumerate(CORPUS["variants"](seed=0, count=RECIPES)):
            text = CORPUS["lines"](data)[0].replace("./", "../").replace("paths: [", "paths: [../")
            (Path(folder) / "recipes" / f"{number}.yaml").write_text(text)
        os.environ["LLMRECIPE_CACHE"] = str(Path(folder) / "cache")
        # Byte code as an installation has it, of both sides, whatever the environment says.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "byte-code")
        imports = [sys.executable, "-c", "import pydantic, yaml"]
        validate = [sys.executable, "-m", "llmrecipe", "validate", "--format", "concise"]
        one = [*validate, "--no-cache", "recipes/0.yaml"]
        for command in (imports, one):
            cost(command, folder)  # writes the byte code
        pairs = [(cost(imports, folder), cost(one, folder)) for _ in range(REPEATS)]
        every = [cost([*validate, "--no-cache", "recipes"], folder) for _ in range(3)]
        cost([*validate, "recipes"], folder)
        again = [cost([*validate, "recipes"], folder) for _ in range(3)]
    base, single = (statistics.median(each.processor for each in column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(single.processor / imported.processor for imported, single in pairs)
    print(f"import pydantic, yaml             {base:6.3f} s of processor, median of {REPEATS}, alternating")
    print(
        f"llmrecipe validate, one recipe    {single:6.3f} s of processor, {ratio:.1f} times, at most {LARGEST_RATIO:g}"
    )
    for name, costs in (("500 recipes", every), ("500 recipes again", again)):
        wall, processor = (statistics.median(column) for column in zip(*costs, strict=True))
        print(f"llmrecipe validate, {name:17} {wall:6.2f} s (at most {MOST_SECONDS:g}), {processor:.2f} s of processor")
    slowest = max(statistics.median(each.wall for each in costs) for costs in (every, again))
    return int(ratio > LARGEST_RATIO or slowest > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
