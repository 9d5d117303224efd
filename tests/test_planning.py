"""A recipe under a launcher of the user: what both say must agree, and what cannot be is said at the line."""

from argparse import Namespace
from pathlib import Path

import pytest

from llmrecipe.accelerating import Launched
from llmrecipe.cli import planning
from llmrecipe.diagnostics import RecipeError
from llmrecipe.strategies import DDP, FSDP, DeepSpeed

RECIPE = """\
version: 1
name: style
model: {base: ./base, revision: null}
data: {train: [{kind: files, paths: [rows.jsonl], format: text}]}
method: {kind: pretrain}
hardware: {accelerator: h100-80gb, num_accelerators: DEVICES}
"""
TWO = Launched(1, 2)
ZERO = Launched(1, 2, DeepSpeed(kind="deepspeed", zero_stage=3))
SHARDED = Launched(1, 2, FSDP(kind="fsdp"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text("{}")
    (tmp_path / "rows.jsonl").write_text('{"text": "one"}\n')
    return tmp_path


def planned(folder: Path, more: str, launched: Launched | None) -> planning.Planned:
    devices = "2" if "distributed" in more else "1"
    (folder / "recipe.yaml").write_text(RECIPE.replace("DEVICES", devices) + more)
    return planning.understand(Namespace(file=str(folder / "recipe.yaml"), overrides=[]), launched)


def refused(folder: Path, more: str, launched: Launched) -> tuple[str, int]:
    """Code and line of the only error."""
    with pytest.raises(RecipeError) as caught:
        planned(folder, more, launched)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.help
    return diagnostic.code, diagnostic.span.line


def test_a_launcher_that_says_otherwise_is_refused_at_the_strategy(folder: Path) -> None:
    written = "distributed: {kind: fsdp}\n"
    assert refused(folder, written, ZERO) == ("LR491", 7)
    assert planned(folder, written, SHARDED).warnings == []


def test_a_batch_that_the_processes_cannot_make_is_refused_at_the_batch(folder: Path) -> None:
    batch = "training: {per_device_train_batch_size: 4, global_batch_size: SIZE}\ndistributed: {kind: ddp}\n"
    assert refused(folder, batch.replace("SIZE", "16"), Launched(1, 3)) == ("LR490", 7)
    assert planned(folder, batch.replace("SIZE", "16"), TWO).warnings == []


def test_a_strategy_that_the_recipe_cannot_have_is_warned_of_and_ddp_is_taken(folder: Path) -> None:
    averaged = "training: {averaging: {kind: ema}}\n"
    found = planned(folder, averaged, SHARDED)
    assert [warning.code for warning in found.warnings] == ["LR492"]
    assert found.documents[0].recipe.distributed == DDP(kind="ddp")
    assert planned(folder, "", SHARDED).warnings == []


def test_rules_see_the_strategy_and_the_devices_of_the_launcher(folder: Path) -> None:
    eight = "distributed: {kind: single}\n"
    assert [warning.code for warning in planned(folder, eight, None).warnings] == ["LR402"]
    (folder / "recipe.yaml").write_text(RECIPE.replace("DEVICES", "8"))
    arguments = Namespace(file=str(folder / "recipe.yaml"), overrides=[])
    found = planning.understand(arguments, Launched(1, 8, FSDP(kind="fsdp")))
    assert found.warnings == []
    assert planning.understand(arguments, Launched(1, 1)).warnings == []


def test_a_launcher_knows_its_devices_where_the_recipe_names_none(folder: Path) -> None:
    text = RECIPE.replace("hardware: {accelerator: h100-80gb, num_accelerators: DEVICES}\n", "")
    (folder / "recipe.yaml").write_text(text)
    arguments = Namespace(file=str(folder / "recipe.yaml"), overrides=[])
    assert planning.understand(arguments, SHARDED).documents[0].recipe.distributed == SHARDED.strategy


def test_what_fits_when_it_is_spread_is_not_refused_under_a_launcher_that_spreads_it(folder: Path) -> None:
    large = "training: {max_length: 1024, per_device_train_batch_size: 1, gradient_checkpointing: true}\n"
    text = RECIPE.replace("DEVICES", "1").replace("./base, revision: null", "Qwen/Qwen3-8B, revision: null") + large
    (folder / "recipe.yaml").write_text(text)
    arguments = Namespace(file=str(folder / "recipe.yaml"), overrides=[])
    with pytest.raises(RecipeError) as caught:
        planning.understand(arguments)
    assert [one.code for one in caught.value.diagnostics if one.severity == "error"] == ["LR420"]
    spread = planning.understand(arguments, Launched(1, 8, FSDP(kind="fsdp")))
    assert "LR420" not in [one.code for one in spread.warnings]
