"""Two thousand broken recipes: `llmrecipe validate` answers each with diagnostics that point into its file."""

import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmrecipe.cli import main
from llmrecipe.source import parse

CASES = 2000
BATCH = 100

RECIPES = [
    """\
version: 1
name: house-style
model: {base: Qwen/Qwen3-0.6B, adapter: {kind: lora, r: 16, lora_alpha: 32, target_modules: [q_proj, v_proj]}}
data:
  train:
    - {kind: files, paths: [data/*.jsonl], format: messages, weight: 1.0}
    - {kind: hub, dataset: owner/name, format: conversations, columns: {conversations: turns}, weight: 2}
  validation: {fraction: 0.02}
  prepare: [{kind: normalize}, {kind: filter, min_words: 5, pattern: "[a-z]"}, {kind: deduplicate}]
method: {kind: sft, assistant_only_loss: true}
training:
  max_steps: 300
  learning_rate: 1e-3
  optimizer: {kind: muon, momentum: 0.9}
  schedule: {kind: cosine, warmup_ratio: 0.05}
  checkpoints: {save_steps: 100}
  extra: {neftune_noise_alpha: 5}
hardware: {accelerator: h100-80gb, num_accelerators: 8, memory: 64Gi, price_per_hour: 2.5}
distributed: {kind: ddp}
evaluation:
  suites: [{kind: perplexity}, {kind: generation, sources: [{kind: files, paths: [q.jsonl], format: instruction}]}]
  gates: [{metric: perplexity/perplexity, max: 20}]
export: {merge: true, formats: [{kind: safetensors, dtype: bfloat16}], license: Apache-2.0}
serving: {kind: vllm, max_model_len: 8192, replicas: {min: 2}, extra: {max_num_batched_tokens: 4096}}
metadata: {owner: us, notes: [1, 2.5, null, true]}
""",
    """\
version: 1
name: tiny
model:
  base:
    architecture: &shape {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
tokenizer: {kind: train, algorithm: bpe, vocab_size: 1000}
data: {train: [{kind: files, paths: [corpus.txt], format: text}], packing: bfd}
method: {kind: pretrain}
training: {max_steps: 10, global_batch_size: 64}
metadata: {shape: *shape}
---
version: 1
name: tuned
model: {base: {recipe: tiny}}
data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
method: {kind: dpo, beta: 0.1}
serving: {kind: transformers, port: 8000}
""",
]

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**70, 0.5, -1e-9, 1e308, float("inf"), float("nan"), "", "yes", "1024", "2e-5",
    "kind", "lora", "../../x", "a#b", "${env:X}", "\u202e\U0001f600", "x" * 300, "*", "(", "s3://bucket/x", [], {},
    [[]], [None], {"kind": None}, {"kind": "files"}, {"recipe": "tiny"}, {"recipe": "x.yaml#y"}, {"": {}},
]  # fmt: skip

KEYS = [
    "kind", "recipe", "extends", "version", "name", "model", "base", "data", "train", "training", "extra", "r",
    "metadata", "format", "batch_size", "lr", "0", "", " ", "é", "<<", "*", "adapter", "paths", "suites",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def reached(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def misspelt(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return rng.choice([text[:at] + text[at + 1 :], text[:at] + rng.choice(string.printable) + text[at:], text.upper()])


def change(data: Any, rng: random.Random) -> Any:
    """One change somewhere in plain data: a key dropped, misspelt, moved or retyped, or a value put in."""
    *above, last = rng.choice([path for path in places(data) if path])
    parent = reached(data, tuple(above))
    match rng.randrange(6):
        case 0:
            del parent[last]
        case 1 if isinstance(parent, dict):
            parent[misspelt(str(last), rng)] = parent.pop(last)
        case 2:
            value = parent[last]
            target = reached(data, rng.choice(list(places(data))))
            if isinstance(target, dict):
                target[rng.choice([*KEYS, str(last)])] = json.loads(json.dumps(value))
            elif isinstance(target, list):
                target.append(json.loads(json.dumps(value)))
        case 3:
            parent[last] = json.loads(json.dumps(rng.choice(VALUES)))
        case 4 if isinstance(parent, dict):
            parent[rng.choice(KEYS)] = rng.choice(VALUES)
        case _:
            parent[last] = rng.choice([str(parent[last]), [parent[last]], {"kind": parent[last]}])
    return data


def as_yaml(value: Any) -> str:
    return json.dumps(value).replace("Infinity", ".inf").replace("NaN", ".nan")


def random_yaml(rng: random.Random, depth: int = 0) -> str:
    match rng.randrange(9 if depth < 5 else 4):
        case 0 | 1 | 2 | 3:
            return as_yaml(rng.choice([*VALUES[:20], rng.random(), rng.choice(KEYS)]))
        case 4 | 5:
            return "[" + ", ".join(random_yaml(rng, depth + 1) for _ in range(rng.randrange(4))) + "]"
        case 6 | 7:
            pairs = (f"{rng.choice(KEYS) or 'x'}: {random_yaml(rng, depth + 1)}" for _ in range(rng.randrange(5)))
            return "{" + ", ".join(pairs) + "}"
    return rng.choice(["*a", "&a 1", "!!int 3", "|", "- -", "? x", "%", "@", "\t", "'", '"', "#", ": :", "\n---\n"])


def edited(text: str, rng: random.Random) -> str:
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(text) + 1)
        length = rng.randrange(8)
        put = rng.choice(
            ["", "\n", "\t", " ", ":", "- ", "'", '"', "[", "}", "&x", "*x", "---\n", "\r", "\x85", "é", "|"]
        )
        text = text[:at] + put + text[at + length :]
    return text


def broken(seed: int) -> bytes:
    """A broken recipe; the same for the same seed."""
    rng = random.Random(seed)
    text = rng.choice(RECIPES)
    kind = seed % 10
    if kind < 6:
        documents = [json.loads(json.dumps(source.data)) for source in parse(text, "recipe.yaml")]
        for _ in range(rng.randrange(1, 4)):
            change(rng.choice(documents), rng)
        text = "---\n".join("".join(f"{as_yaml(k)}: {as_yaml(v)}\n" for k, v in each.items()) for each in documents)
    elif kind < 8:
        text = edited(text, rng)
    elif kind == 8:
        text = "".join(f"{rng.choice(KEYS) or 'x'}: {random_yaml(rng)}\n" for _ in range(rng.randrange(8)))
    else:
        return (
            rng.randbytes(rng.randrange(200))
            if seed % 20 < 10
            else bytes(rng.choices(b"abc:-[]{}'\"#&*!|>\n \t", k=120))
        )
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("first", range(0, CASES, BATCH))
def test_a_broken_recipe_gives_diagnostics_and_nothing_else(first, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("recipe.yaml")
    for seed in range(first, first + BATCH):
        path.write_bytes(broken(seed))
        code = main(["validate", "recipe.yaml", "--format", "json"])
        output = capsys.readouterr()
        assert code in (0, 1), f"seed {seed}: {output.err[-2000:]}"
        assert not output.err
        lines = path.read_text("utf-8", "replace").split("\n")
        for found in json.loads(output.out)["diagnostics"]:
            start, end = (found["line"], found["column"]), (found["end_line"], found["end_column"])
            assert found["file"] == "recipe.yaml", f"seed {seed}: {found}"
            assert (1, 1) <= start <= end, f"seed {seed}: {found}"
            assert end[0] <= len(lines), f"seed {seed}: {found}"
            assert end[1] <= len(lines[end[0] - 1]) + 1, f"seed {seed}: {found}"
            assert found["message"], f"seed {seed}: {found}"


@pytest.mark.parametrize("format", ["text", "concise", "github", "sarif"])
def test_every_format_prints_what_is_wrong_with_broken_recipes(format, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(0, CASES, 29):
        Path("recipe.yaml").write_bytes(broken(seed))
        assert main(["validate", "recipe.yaml", "--format", format]) in (0, 1), f"seed {seed}"
        assert not capsys.readouterr().err
