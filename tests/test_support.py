"""Every combination of method, adapter, quantization, strategy and precision is refused by a rule, or it trains."""

import itertools
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fsdp_on_processor import folder as fsdp_folder
from tiny import _tokenizer
from transformers import ModernBertConfig, ModernBertForMaskedLM, Qwen3Config, Qwen3ForCausalLM

from llmrecipe import launch
from llmrecipe.cli import planning
from llmrecipe.jobs import Jobs
from llmrecipe.lint import RULES
from llmrecipe.stages.__main__ import main as run_stage
from llmrecipe.store import Store

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
from generate_support import ADAPTERS, DEGREES, KINDS, QUANTIZATIONS, STRATEGIES, Combination, combinations

HERE = Path(__file__).parent
TURNS = {"prompt": "say one", "chosen": "one", "rejected": "two three"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "text": [{"text": f"one two three {i}"} for i in range(8)],
    "messages": [
        {"messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"it is {i}"}]}
        for i in range(8)
    ],
    "prompt_completion": [{"prompt": f"say {i}", "completion": f" it is {i}"} for i in range(8)],
    "preference": [{"prompt": f"say {i}", "chosen": f" {i}", "rejected": " nothing at all"} for i in range(8)],
    "unpaired_preference": [{"prompt": f"say {i}", "completion": f" {i}", "label": i % 2 == 0} for i in range(8)],
    "prompt": [{"prompt": f"say {i}"} for i in range(8)],
}


def test_a_refusal_is_that_of_a_rule_and_the_plain_ways_are_open():
    found = {str(combination): combination.refusals("h100-80gb") for combination in combinations()}
    assert {code for codes in found.values() for code in codes} <= set(RULES)
    for method in {combination.method for combination in combinations()}:
        for adapter in ("full", "lora"):
            assert found[f"{method}-{adapter}-none-single-bfloat16"] == []
        assert found[f"{method}-full-nf4-single-bfloat16"] != []


def test_what_may_be_split_is_what_the_tests_of_degrees_train() -> None:
    for degree in DEGREES:
        open_ = {
            what
            for what in itertools.product(KINDS, ADAPTERS, QUANTIZATIONS)
            if not Combination(*what, degree, "bfloat16").refusals("h100-80gb")
        }
        assert open_ == set(itertools.product(("pretrain", "sft"), ("full", "lora"), ("none",)))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Tiny models with random weights: `base`, `encoder` and `teacher`."""
    root = tmp_path_factory.mktemp("models")
    tokenizer = _tokenizer()
    shape = {
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
        "max_position_embeddings": 128,
    }  # fmt: skip
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    for name in ("base", "teacher"):
        config = Qwen3Config(vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=16, **shape, **tokens)
        Qwen3ForCausalLM(config).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    tokenizer.add_special_tokens({"mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]"})
    ends = {"bos_token_id": None, "cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    encoder = ModernBertConfig(vocab_size=len(tokenizer), **shape, **tokens, **ends)
    ModernBertForMaskedLM(encoder).save_pretrained(root / "encoder")
    tokenizer.save_pretrained(root / "encoder")
    for name, rows in ROWS.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


def job(combination: Combination, accelerator: str, models: Path, store: Store) -> Path:
    """The job of the training stage; what it is made from is there."""
    recipe = combination.recipe(accelerator)
    recipe["model"]["base"] = str(models / ("encoder" if combination.method == "mlm" else "base"))
    if "teacher_model" in recipe["method"]:
        recipe["method"]["teacher_model"] = str(models / "teacher")
    rows = recipe["data"]["train"][0]["format"]
    recipe["data"]["train"] = [{"kind": "files", "paths": [str(models / f"{rows}.jsonl")], "format": rows}]
    recipe["training"] |= {"per_device_train_batch_size": 2}
    recipe["hardware"]["accelerator"] = "cpu" if accelerator == "cpu" else recipe["hardware"]["accelerator"]
    file = models / f"{combination}.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    plan = planning.understand(Namespace(file=str(file), overrides=[])).plan
    jobs = Jobs(store, plan.addresses(), models, allow_code=False)
    for stage in plan.stages:
        store.work(jobs.addresses[stage.name]).mkdir(parents=True, exist_ok=True)
        path = jobs.write(stage)
        if stage.spec.kind == "train":
            return path
        if not store.has(jobs.addresses[stage.name]):
            assert run_stage([str(path)]) == 0
    raise AssertionError(f"{combination} trains nothing")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_no_rule_refuses_trains(strategy, models, tmp_path):
    accelerator = "h100-80gb" if strategy == "fsdp" else "cpu"
    wanted = [
        combination
        for combination in combinations()
        if combination.strategy == strategy
        and (strategy != "fsdp" or combination.precision == "float32")
        and not combination.refusals(accelerator)
    ]
    assert len(wanted) > 20
    store = Store(tmp_path / "store")
    store.create()
    jobs = {str(job(combination, accelerator, models, store)): combination for combination in wanted}
    listed, results = tmp_path / "jobs.txt", tmp_path / "results.json"
    listed.write_text("\n".join(jobs), encoding="utf-8")
    started(strategy, tmp_path, [str(HERE / "support_jobs.py"), str(listed), str(results)])
    found = json.loads(results.read_text("utf-8"))
    failed = {str(jobs[path]): found.get(path, "not reached") for path in jobs if found.get(path) != "complete"}
    assert not failed


def started(strategy: str, folder: Path, script: list[str]) -> None:
    """Run the script under the launcher configuration of the strategy."""
    environment = launch.alone(os.environ, 2) | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable]
    if strategy != "single":
        combination = Combination("sft", "full", "none", strategy, "float32")
        file = folder / "sft.yaml"
        file.write_text(yaml.safe_dump(combination.recipe("h100-80gb" if strategy == "fsdp" else "cpu")))
        stages = planning.understand(Namespace(file=str(file), overrides=[])).plan.stages
        stage = next(stage for stage in stages if stage.spec.kind == "train")
        config = folder / "accelerate.yaml"
        config.write_text(yaml.safe_dump(launch.accelerate_config(stage.resources, stage.spec.distributed)))
        words += ["-m", "accelerate.commands.launch", "--config_file", str(config)]
    if strategy == "fsdp":
        environment["PYTHONPATH"] = os.pathsep.join([str(fsdp_folder(folder / "shim")), environment["PYTHONPATH"]])
    with (folder / "log").open("wb") as log:
        subprocess.run([*words, *script], env=environment, stdout=log, stderr=log, check=False, timeout=3000)
