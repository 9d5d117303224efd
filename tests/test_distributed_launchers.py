"""`llmrecipe run` under `accelerate launch`: with its own idea of processes on processors, with FSDP2, with ZeRO-2."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsdp_on_processor
import pytest
import yaml
from transformers import AutoModelForCausalLM

from llmrecipe.plan import Train
from llmrecipe.summary import Summary

pytestmark = pytest.mark.slow

RECIPE: dict[str, Any] = {
    "version": 1,
    "name": "tiny",
    "model": {
        "base": {
            "architecture": {"family": "qwen3", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        }
    },
    "tokenizer": {"kind": "train", "vocab_size": 320},
    "data": {"train": [{"kind": "files", "paths": ["text.txt"], "format": "text", "sample_by": "line"}]},
    "method": {"kind": "pretrain"},
    "training": {"max_length": 32, "per_device_train_batch_size": 2, "max_steps": 4, "checkpoints": {"save_steps": 2}},
}
COMMON = {
    "compute_environment": "LOCAL_MACHINE", "machine_rank": 0, "num_machines": 1, "num_processes": 2,
    "mixed_precision": "no", "main_process_port": 0, "rdzv_backend": "static", "same_network": True, "debug": False,
}  # fmt: skip
FSDP2 = COMMON | {
    "distributed_type": "FSDP",
    "use_cpu": False,
    "fsdp_config": {
        "fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "fsdp_reshard_after_forward": True,
        "fsdp_state_dict_type": "SHARDED_STATE_DICT", "fsdp_offload_params": False,
        "fsdp_activation_checkpointing": False, "fsdp_cpu_ram_efficient_loading": False,
    },
}  # fmt: skip
ZERO2 = COMMON | {
    "distributed_type": "DEEPSPEED",
    "use_cpu": True,
    "deepspeed_config": {
        "zero_stage": 2, "gradient_accumulation_steps": 1, "gradient_clipping": 1.0, "offload_optimizer_device": "none",
        "offload_param_device": "none", "zero3_init_flag": False, "deepspeed_multinode_launcher": "standard",
    },
}  # fmt: skip


def run(
    root: Path, config: dict[str, Any] | None, sharded: bool, **changes: Any
) -> tuple[subprocess.CompletedProcess[str], Summary | None]:
    """A recipe under `accelerate launch` with that configuration, or with `--num_processes 2` alone."""
    (root / "text.txt").write_text("".join(f"line {i} of a text about {i * 7 % 13} things\n" for i in range(120)))
    (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | changes))
    words = ["--num_processes", "2"]
    if config is not None:
        (root / "accelerate.yaml").write_text(yaml.safe_dump(config))
        words = ["--config_file", "accelerate.yaml"]
    told = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    if sharded:
        told["PYTHONPATH"] = f"{fsdp_on_processor.folder(root / 'shim')}{os.pathsep}{told['PYTHONPATH']}"
    ended = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *words, "-m", "llmrecipe", "run", "recipe.yaml"],
        cwd=root, env=told, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    summary = root / "runs" / "tiny" / "summary.json"
    return ended, Summary.model_validate_json(summary.read_bytes()) if summary.exists() else None


def trained(root: Path, ended: subprocess.CompletedProcess[str], summary: Summary | None) -> Train:
    """What the plan says of the training, which is complete and left a model."""
    assert ended.returncode == 0, ended.stdout + ended.stderr[-4000:]
    assert summary is not None
    assert summary.status == "complete"
    AutoModelForCausalLM.from_pretrained(root / "runs" / "tiny" / "model")
    assert summary.plan is not None
    spec = summary.plan.stage("tiny/train").spec
    assert isinstance(spec, Train)
    return spec


def test_one_process_of_accelerate_on_processors_trains_as_the_recipe_says(tmp_path: Path) -> None:
    ended, summary = run(tmp_path, None, sharded=False)
    spec = trained(tmp_path, ended, summary)
    assert (spec.distributed.kind, spec.world_size) == ("single", 1)
    assert "`accelerate launch` has started one process" in ended.stderr


def test_a_recipe_takes_fsdp_from_its_launcher(tmp_path: Path) -> None:
    spec = trained(tmp_path, *run(tmp_path, FSDP2, sharded=True))
    assert (spec.distributed.kind, spec.world_size) == ("fsdp", 2)


@pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed builds an operator with g++")
@pytest.mark.parametrize("written", [{}, {"distributed": {"kind": "deepspeed"}}], ids=["left out", "written"])
def test_a_recipe_takes_zero_from_its_launcher_or_agrees_with_it(tmp_path: Path, written: dict[str, Any]) -> None:
    spec = trained(tmp_path, *run(tmp_path, ZERO2, sharded=False, **written))
    assert (spec.distributed.kind, spec.world_size) == ("deepspeed", 2)


@pytest.mark.skipif(shutil.which("g++") is None, reason="DeepSpeed builds an operator with g++")
def test_a_recipe_that_cannot_have_the_strategy_of_its_launcher_says_so_and_trains(tmp_path: Path) -> None:
    training = RECIPE["training"] | {"optimizer": {"kind": "muon"}}
    ended, summary = run(tmp_path, ZERO2, sharded=False, training=training)
    spec = trained(tmp_path, ended, summary)
    assert (spec.distributed.kind, spec.world_size) == ("ddp", 2)
    assert "trains with `ddp`, and not as the launcher says" in ended.stderr


def test_a_launcher_that_says_otherwise_is_refused_with_both_names(tmp_path: Path) -> None:
    ended, summary = run(tmp_path, FSDP2, sharded=True, distributed={"kind": "deepspeed"})
    assert ended.returncode != 0
    assert summary is None
    assert "the recipe says `kind: deepspeed`, and the launcher says `fsdp`" in ended.stderr


def test_fsdp_that_accelerate_would_turn_into_something_else_is_refused(tmp_path: Path) -> None:
    ended, _ = run(tmp_path, FSDP2, sharded=False)
    assert ended.returncode != 0
    assert "`fsdp` takes accelerators, and there is none" in ended.stderr
