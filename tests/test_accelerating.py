"""What must hold between a strategy and Accelerate: it knows every word that we tell it, and we understand its own."""

import dataclasses
import os
from argparse import Namespace
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from llmrecipe import accelerating, launch
from llmrecipe.accelerating import Launched, LauncherError
from llmrecipe.plan import Resources
from llmrecipe.strategies import DDP, FSDP, DeepSpeed, Distributed, Single

GPU_2X8 = Resources(nodes=2, accelerators=8, processes=8, accelerator="h100-80gb")
STRATEGIES: list[Distributed] = [
    FSDP(kind="fsdp"),
    FSDP(kind="fsdp", sharding="grad", cpu_offload=True, state_dict_type="full"),
    FSDP(kind="fsdp", sharding="hybrid", activation_checkpointing=True),
    FSDP(kind="fsdp", wrap=["Qwen3DecoderLayer", "Qwen3Attention"], cpu_ram_efficient_loading=True),
    FSDP(kind="fsdp", tensor_parallel_size=4),
    FSDP(kind="fsdp", context_parallel_size=8),
    FSDP(kind="fsdp", sharding="hybrid", tensor_parallel_size=2),
    DeepSpeed(kind="deepspeed", zero_stage=1),
    DeepSpeed(kind="deepspeed"),
    DeepSpeed(kind="deepspeed", zero_stage=3, offload_optimizer="cpu", offload_parameters="cpu"),
    DeepSpeed(
        kind="deepspeed", zero_stage=3, offload_optimizer="nvme", offload_parameters="nvme", nvme_path="/local_nvme"
    ),
]


def understood(folder: Path, strategy: Distributed, resources: Resources = GPU_2X8) -> tuple[Namespace, ClusterConfig]:
    """What `accelerate launch` makes of the configuration file on the first of two nodes."""
    file = folder / "accelerate.yaml"
    file.write_text(yaml.safe_dump(launch.accelerate_config(resources, strategy)), encoding="utf-8")
    words = ["--config_file", str(file), "--machine_rank", "0", "--main_process_ip", "first", "script.py"]
    arguments, config, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    return arguments, config


@pytest.mark.parametrize("strategy", [Single(kind="single"), DDP(kind="ddp"), *STRATEGIES], ids=str)
def test_accelerate_knows_every_key(strategy: Distributed) -> None:
    fields = {field.name for field in dataclasses.fields(ClusterConfig)}
    options = {action.dest for action in launch_command_parser()._actions}
    config = launch.accelerate_config(GPU_2X8, strategy)
    assert config.keys() <= fields
    for section in config.values():
        if isinstance(section, dict):
            assert section.keys() <= options


def test_a_key_that_accelerate_passes_over_is_noticed_by_the_test_above() -> None:
    assert "fsdp_ofload_params" not in {action.dest for action in launch_command_parser()._actions}


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_a_launcher_tells_its_processes_the_very_variables_that_we_set_without_one(
    tmp_path: Path, strategy: Distributed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.utils.launch.is_port_in_use", lambda port: False)
    monkeypatch.chdir(tmp_path)
    arguments, config = understood(tmp_path, strategy)
    load_config_from_file(str(tmp_path / "accelerate.yaml"))
    if isinstance(strategy, DeepSpeed):
        arguments.deepspeed_fields_from_accelerate_config = ",".join(config.deepspeed_config)
        _, told = prepare_deepspeed_cmd_env(arguments)
    else:
        told = prepare_multi_gpu_env(arguments)
    ours = accelerating.variables(strategy, 2, 8)
    unheard = {name for name in ours if "NVME_PATH" in name}
    assert {name: told.get(name) for name in ours.keys() - unheard} == {
        n: v for n, v in ours.items() if n not in unheard
    }
    assert unheard.isdisjoint(told.keys() - os.environ.keys()), "the launcher hands them on now: say so in `variables`"
    assert accelerating.declared(told) == strategy.model_copy(update={"nvme_path": None} if unheard else {})


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_variables_can_be_read_back(strategy: Distributed) -> None:
    found = accelerating.declared(accelerating.variables(strategy, 2, 8))
    assert accelerating.difference(strategy, found) in (None, "nvme_path")


def test_torchrun_says_no_strategy() -> None:
    assert accelerating.declared({"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}) is None


FSDP2 = {
    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
}  # fmt: skip
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (FSDP2 | {"FSDP_VERSION": "1"}, "FSDP version 1"),
        (FSDP2 | {"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}, "SIZE_BASED_WRAP"),
        (FSDP2 | {"FSDP_IGNORED_MODULES": "lm_head"}, "fsdp_ignored_modules"),
        (FSDP2 | {"PARALLELISM_CONFIG_SP_SIZE": "2"}, "parallelism_config_sp_size: 2"),
        (ZERO | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": "ds.json"}, "deepspeed_config_file"),
        (ZERO | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "0"}, "zero_stage: 0"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
    ],
)
def test_what_no_recipe_can_say_is_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(LauncherError, match=message) as caught:
        accelerating.declared(variables)
    assert caught.value.help


TWO = Launched(1, 2)
ZERO3 = Launched(1, 2, DeepSpeed(kind="deepspeed", zero_stage=3, offload_optimizer="cpu"))


@pytest.mark.parametrize(
    ("written", "launched", "expected"),
    [
        (None, TWO, DDP(kind="ddp")),
        (None, ZERO3, ZERO3.strategy),
        (FSDP(kind="fsdp"), TWO, FSDP(kind="fsdp")),
        (DeepSpeed(kind="deepspeed"), ZERO3, ZERO3.strategy),
        (DeepSpeed(kind="deepspeed", zero_stage=3), ZERO3, ZERO3.strategy),
        (Single(kind="single"), Launched(1, 1), Single(kind="single")),
    ],
)
def test_what_a_recipe_leaves_out_the_launcher_says(
    written: Distributed | None, launched: Launched, expected: Distributed
) -> None:
    found = accelerating.settled(written or Single(kind="single"), launched, written is not None)
    assert found == expected


@pytest.mark.parametrize(
    ("written", "launched", "message"),
    [
        (Single(kind="single"), TWO, "the recipe says `single`, and the launcher started 2 processes"),
        (DDP(kind="ddp"), ZERO3, "`kind: ddp`, and the launcher says `deepspeed`"),
        (FSDP(kind="fsdp"), ZERO3, "`kind: fsdp`, and the launcher says `deepspeed`"),
        (
            FSDP(kind="fsdp", tensor_parallel_size=4),
            Launched(1, 8, FSDP(kind="fsdp", tensor_parallel_size=2)),
            "`tensor_parallel_size: 4`, and the launcher says `2`",
        ),
        (DeepSpeed(kind="deepspeed", zero_stage=2), ZERO3, "`zero_stage: 2`, and the launcher says `3`"),
    ],
)
def test_recipe_and_launcher_must_not_say_different_things(
    written: Distributed, launched: Launched, message: str
) -> None:
    with pytest.raises(LauncherError, match=message) as caught:
        accelerating.settled(written, launched, written=True)
    assert caught.value.help
