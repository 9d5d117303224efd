"""Plan -> files: goldens of every shipped recipe, sizes, and the texts that are written."""

import subprocess
import sys
from pathlib import Path

import goldens
import pytest
import yaml
from goldens import CLUSTER, PIPELINE, SCRATCH

from llmrecipe.plan import Plan, Resources
from llmrecipe.targets import TARGETS, TargetError, capacity
from llmrecipe.targets.nginx import nginx_conf
from llmrecipe.targets.yaml_text import yaml_text


@pytest.mark.parametrize("recipe", goldens.recipes(), ids=goldens.name)
def test_a_shipped_recipe_compiles_to_its_golden(recipe):
    found, kept = dict(goldens.render(recipe)), goldens.golden(recipe)
    assert found.keys() == kept.keys(), "python tests/goldens.py --write, and read what git shows"
    for path, text in found.items():
        assert text == kept[path], f"{path}: python tests/goldens.py --write, and read what git shows"


def test_no_golden_is_left_of_a_recipe_that_is_gone():
    assert {folder.name for folder in goldens.GOLDEN.iterdir()} == {
        goldens.name(recipe) for recipe in goldens.recipes()
    }


@pytest.mark.parametrize("recipe", goldens.recipes(), ids=goldens.name)
def test_a_plan_that_went_through_json_compiles_to_the_same_files(recipe):
    plan = goldens.plan(recipe)
    again = Plan.model_validate_json(plan.model_dump_json())
    for target in TARGETS.values():
        try:
            files = target.render(plan)
        except TargetError:
            continue
        assert list(target.render(again).items()) == list(files.items())


@pytest.mark.parametrize("recipe", goldens.recipes(), ids=goldens.name)
def test_scripts_pass_shellcheck(recipe, tmp_path):
    shellcheck = Path(sys.executable).with_name("shellcheck")
    scripts = [(path, text) for path, text in goldens.render(recipe) if text.startswith("#!")]
    for number, (_, text) in enumerate(scripts):
        (tmp_path / f"{number}.sh").write_text(text)
    checked = subprocess.run([shellcheck, *tmp_path.glob("*.sh")], capture_output=True)
    assert scripts
    assert checked.returncode == 0, checked.stdout.decode()


# -- sizes --


def test_a_server_is_given_time_to_load_its_weights():
    service = goldens.plan(CLUSTER).services[0]
    assert service.weight_bytes is not None
    assert capacity.start_seconds(service) >= 120 + service.weight_bytes / 200e6
    unknown = service.model_copy(update={"weight_bytes": None})
    assert capacity.start_seconds(unknown) > capacity.start_seconds(service)
    assert capacity.host_memory(unknown.model_copy(update={"resources": Resources()})) is None


def test_the_volume_holds_data_checkpoints_and_models():
    plan = goldens.plan(CLUSTER)
    weights = plan.services[0].weight_bytes
    assert weights is not None
    assert capacity.storage_gib(plan) * 1024**3 >= 24 * weights
    assert capacity.storage_gib(goldens.plan(PIPELINE)) == capacity.LEAST_STORAGE_GIB
    assert capacity.storage_gib(goldens.plan(SCRATCH)) == capacity.ASSUMED_STORAGE_GIB


# -- texts --

AWKWARD = [
    *("no", "on", "y", "N", "~", "null", "true", "1e5", "1.5e-3", "0o17", "017", "12:30:45", "1_000", "0x1f", "1-1-1"),
    *("", " a ", "a: b", "- a", "#a", "a #b", "é", "a\nb", "a\n", "a \nb", "\ttab", "<<", "=", "*a", "%a", "@a"),
]


def test_texts_are_read_as_texts_again():
    text = yaml_text([{"values": AWKWARD, "keys": dict.fromkeys(AWKWARD, 1)}], "awkward")
    assert yaml.safe_load(text) == {"values": AWKWARD, "keys": dict.fromkeys(AWKWARD, 1)}


@pytest.mark.parametrize("value", ["y", "N", "1e5", "1.5E-3", "0o17", "017"])
def test_what_other_readers_take_for_something_else_is_quoted(value):
    assert f"'{value}'" in yaml_text([[value]], "")


def test_yaml_has_no_aliases_and_keeps_the_order_of_keys():
    shared = {"b": 1, "a": 2}
    assert yaml_text([{"z": shared, "y": shared}], "why") == "# why\nz:\n  b: 1\n  a: 2\n'y':\n  b: 1\n  a: 2\n"


def test_several_lines_stay_legible():
    assert yaml_text([{"run.sh": "a\nb\n"}], "") == "run.sh: |\n  a\n  b\n"


def test_nginx_balances_and_streams():
    text = nginx_conf(["a:1", "b:2"], 60)
    for line in ("least_conn;", "server a:1 max_fails=3 fail_timeout=10s;", "proxy_buffering off;", "proxy_cache off;",
                 "client_max_body_size 8m;", "location = /health {", "worker_shutdown_timeout 60s;"):  # fmt: skip
        assert f" {line}\n" in f" {text}".replace("\n", "\n ")
    assert text.count("{") == text.count("}")
