"""What `llmrecipe validate` costs: one recipe against importing pydantic and yaml, and 200 recipes in one call."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 20
RECIPES = 200
LARGEST_RATIO = 5.0
MOST_SECONDS = 2.0  # for RECIPES recipes

RECIPE = """\
version: 1
name: bench-{number}
model: {{base: ./model, adapter: {{kind: lora, r: 16, lora_alpha: 32}}}}
data:
  train:
    - {{kind: files, paths: [rows.jsonl], format: messages}}
  validation: {{fraction: 0.02}}
  prepare: [{{kind: normalize}}, {{kind: filter, min_words: 5}}, {{kind: deduplicate}}]
method: {{kind: sft}}
training:
  max_steps: 300
  max_length: 2048
  learning_rate: 2e-4
  optimizer: {{kind: adamw, beta2: 0.95}}
  schedule: {{kind: cosine, warmup_ratio: 0.05}}
evaluation:
  suites: [{{kind: perplexity}}]
  gates: [{{metric: perplexity/perplexity, max: 20}}]
hardware: {{accelerator: h100-80gb}}
serving: {{kind: vllm, max_model_len: 8192}}
"""


def seconds(command: list[str], folder: str) -> float:
    """Wall-clock time of a fresh process that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Print the table; 1 when a bound is not kept."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rows.jsonl").write_text('{"messages": [{"role": "user", "content": "hello"}]}\n')
        (Path(folder) / "model").mkdir()
        (Path(folder) / "model" / "config.json").write_text('{"model_type": "qwen3"}')
        names = [f"{number}.yaml" for number in range(RECIPES)]
        for number, name in enumerate(names):
            (Path(folder) / name).write_text(RECIPE.format(number=number))
        imports = [sys.executable, "-c", "import pydantic, yaml"]
        validate = [sys.executable, "-m", "llmrecipe", "validate"]
        seconds([*validate, names[0]], folder)  # writes the byte code
        pairs = [(seconds(imports, folder), seconds([*validate, names[0]], folder)) for _ in range(REPEATS)]
        many = statistics.median(seconds([*validate, *names], folder) for _ in range(3))
    base, one = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"import pydantic, yaml            {base:7.3f} s   median of {REPEATS}, alternating")
    print(f"llmrecipe validate, 1 recipe     {one:7.3f} s   {one / base:.2f} times, at most {LARGEST_RATIO:g}")
    print(f"llmrecipe validate, {RECIPES} recipes {many:7.3f} s   at most {MOST_SECONDS:g} s")
    return int(one / base > LARGEST_RATIO or many > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
