"""What llmrecipe costs beside a script written by hand, from the command to the end of the first training step.

    python benchmarks/overhead.py [--rounds 3]

Both sides alternate within one run, so that a busy machine slows both.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
MESSAGES = 2000
ACCELERATE = (
    "distributed_type: 'NO'\nuse_cpu: true\nnum_machines: 1\nmachine_rank: 0\nnum_processes: 1\nmixed_precision: 'no'\n"
)
RECIPE = """
version: 1
name: overhead
model: {base: ./model}
data:
  train: [{kind: files, paths: [messages.jsonl], format: messages}]
  validation: {fraction: 0.05}
method: {kind: sft}
training: {max_length: 128, per_device_train_batch_size: 8, max_steps: STEPS}
"""


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(_start(Path(folder), arguments.rounds), indent=2))


def _start(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds from the command to the end of the first training step."""
    subprocess.run([sys.executable, FOLDER / "small_model.py", folder / "model"], check=True)
    lines = (json.dumps(_conversation(i)) + "\n" for i in range(MESSAGES))
    (folder / "messages.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "accelerate.yaml").write_text(ACCELERATE, encoding="utf-8")
    found: dict[str, list[float]] = {"by hand, cold": [], "cold": [], "by hand, prepared": [], "prepared": []}
    for number in range(rounds):
        for side in ("by hand", "llmrecipe"):
            if side == "by hand":
                shutil.rmtree(folder / "by-hand", ignore_errors=True)
                found["by hand, cold"].append(_by_hand(folder))
                found["by hand, prepared"].append(_by_hand(folder))
            else:
                shutil.rmtree(folder / ".llmrecipe", ignore_errors=True)
                found["cold"].append(_recipe(folder, steps=2 * number + 4))
                # Another number of steps is another training of the same prepared data.
                found["prepared"].append(_recipe(folder, steps=2 * number + 5))
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {
        "seconds": found,
        "median": medians,
        "more seconds, cold (at most 2)": medians["cold"] - medians["by hand, cold"],
        "more seconds, prepared (at most 1)": medians["prepared"] - medians["by hand, prepared"],
    }


def _conversation(number: int) -> dict[str, Any]:
    a, b = number % 97, number % 89
    question = f"What is {a} plus {b}, and what is the number after it? Say both in one sentence, please."
    answer = f"{a} plus {b} is {a + b}, and the number after it is {a + b + 1}."
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def _by_hand(folder: Path) -> float:
    output = folder / "by-hand"
    output.mkdir(exist_ok=True)
    began = time.time()
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", folder / "accelerate.yaml",
        FOLDER / "handwritten_pipeline.py", folder / "model", folder / "messages.jsonl", output,
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return float((output / "first_step").read_text(encoding="utf-8")) - began


def _recipe(folder: Path, steps: int) -> float:
    (folder / "recipe.yaml").write_text(RECIPE.replace("STEPS", str(steps)), encoding="utf-8")
    known = set(folder.glob(".llmrecipe/work/*/events.jsonl"))
    began = time.time()
    command = [sys.executable, "-m", "llmrecipe", "run", "recipe.yaml", "--until", "overhead/train"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent)},
    )  # fmt: skip
    first = None
    while process.poll() is None and first is None:
        for events in set(folder.glob(".llmrecipe/work/*/events.jsonl")) - known:
            if _stepped(events):
                first = time.time() - began
        time.sleep(0.01)
    if process.wait() != 0 or first is None:
        raise SystemExit(f"`llmrecipe run` failed: see {folder}")
    return first


def _stepped(events: Path) -> bool:
    try:
        lines = events.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
    except (FileNotFoundError, ValueError):  # Removed, or half a line, while we look.
        return False
    return any(event.get("unit") == "steps" and event.get("done", 0) > 0 for event in found)


if __name__ == "__main__":
    main()
