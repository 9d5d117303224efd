"""Learning from human feedback in one file: demonstrations, a reward model of preferences, and PPO. Minutes long."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples" / "methods"

RECIPE = """
version: 1
name: notes
model:
  base:
    architecture: {family: qwen3, hidden_size: 96, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2}
tokenizer: {kind: train, vocab_size: 400}
data:
  train: [{kind: files, paths: [orders.jsonl], format: prompt_completion}]
method: {kind: sft}
training:
  num_train_epochs: 10
  per_device_train_batch_size: 16
  max_length: 64
  learning_rate: 3e-3
  optimizer: {kind: muon}
evaluation:
  suites:
    - kind: reward
      name: lines
      sources: [{kind: files, paths: [orders-held-out.jsonl], format: prompt, columns: {reference: line}}]
      reward_functions: [{kind: regex, pattern: "^ [a-z]+: [0-9]+$"}]
      max_new_tokens: 24
      batch_size: 64
---
version: 1
name: judge
model: {base: {recipe: notes}}
data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
method: {kind: reward}
training: {max_steps: 40, per_device_train_batch_size: 16, max_length: 64, learning_rate: 3e-4}
---
version: 1
name: policy
model: {base: {recipe: notes}}
data:
  train: [{kind: files, paths: [orders-prompts.jsonl], format: prompt}]
method:
  kind: ppo
  reward_model: {recipe: judge}
  max_completion_length: 24
  num_mini_batches: 2
  kl_coef: 0.05
  missing_eos_penalty: 1.0
training: {max_steps: 60, per_device_train_batch_size: 64, max_length: 64, learning_rate: 3e-4}
evaluation:
  suites:
    - kind: reward
      name: judged
      sources: [{kind: files, paths: [orders-held-out.jsonl], format: prompt}]
      max_new_tokens: 24
      batch_size: 64
    - kind: reward
      name: lines
      sources: [{kind: files, paths: [orders-held-out.jsonl], format: prompt, columns: {reference: line}}]
      reward_functions: [{kind: regex, pattern: "^ [a-z]+: [0-9]+$"}]
      max_new_tokens: 24
      batch_size: 64
"""


@pytest.mark.slow
def test_a_policy_does_what_people_preferred(tmp_path: Path) -> None:
    for name in ("orders.jsonl", "orders-prompts.jsonl", "orders-held-out.jsonl"):
        shutil.copy(EXAMPLES / "data" / name, tmp_path / name)
    rows = [json.loads(line) for line in (tmp_path / "orders-prompts.jsonl").read_text().splitlines()]
    pairs = [
        {"prompt": row["prompt"], "chosen": f" {row['line']}", "rejected": rejected}
        for row in rows
        for rejected in (f" {row['json']}", f" {' '.join(reversed(row['line'].split(': ')))}")
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (tmp_path / "rlhf.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "llmrecipe", "run", "rlhf.yaml", "--format", "json"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    stages: dict[str, Any] = {stage["name"]: stage["metrics"] for stage in json.loads(done.stdout)["stages"]}
    before, after = (stages[f"{name}/evaluate-lines"]["reward"] for name in ("notes", "policy"))
    print(f"lines {before:.2f} -> {after:.2f}, kl {stages['policy/train'].get('kl')}")
    assert after >= before + (1 - before) / 2
    assert stages["policy/evaluate-judged"]["reward_model"] == stages["policy/evaluate-judged"]["reward"]
