"""The tables against the libraries that are installed, and what they promise to those who read them."""

import dataclasses
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import transformers

from llmrecipe import facts
from llmrecipe.methods import METHODS
from llmrecipe.vocabulary import Architecture

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import generate_facts

CONFIGS = generate_facts.CONFIGS


def test_the_table_of_trainer_fields_is_that_of_the_installed_libraries() -> None:
    written = (Path(facts.__file__).parent / "trainers.json").read_text("utf-8")
    assert written == generate_facts.trainers()


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_of_a_configuration_class_is_there_and_accepts_its_default(config: str) -> None:
    module, _, name = config.partition(":")
    installed = {
        field.name for field in dataclasses.fields(getattr(importlib.import_module(module), name)) if field.init
    }
    fields = facts.trainer_fields(config)
    assert set(fields) == installed
    assert [name for name, field in fields.items() if not field.accepts(field.default)] == []


def test_the_table_holds_the_class_of_every_method() -> None:
    assert {method.config for method in METHODS} <= set(CONFIGS)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_every_option_of_a_method_is_a_field_of_its_configuration_class(method: type) -> None:
    kind = method.model_fields["kind"].annotation.__args__[0]
    needed = {"teacher_model": "owner/name"} if "teacher_model" in method.model_fields else {}
    options = method(kind=kind, **needed).options()
    fields = facts.trainer_fields(method.config)
    assert set(options) <= set(fields)
    assert [name for name, value in options.items() if not fields[name].accepts(value)] == []


@pytest.mark.parametrize(
    ("type_", "value", "accepted"),
    [
        ("float", 1, True),
        ("float", "1", False),
        ("float", True, False),
        ("int", 1.0, False),
        ("int | None", None, True),
        ("int", None, False),
        ("bool", 1, False),
        ("bool | str", "auto", True),
        ("dict | str | None", {"a": 1}, True),
        ("list", "a", False),
    ],
)
def test_a_trainer_field_accepts_exactly_its_types(type_: str, value: object, accepted: bool) -> None:
    assert facts.TrainerField(type_, None).accepts(value) is accepted


def test_a_trainer_field_with_names_accepts_these_names_only() -> None:
    field = facts.trainer_fields("trl:SFTConfig")["save_strategy"]
    assert field.accepts("steps")
    assert not field.accepts("sometimes")


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("max_model_len", 4096, True),
        ("max_model_len", "4096", False),
        ("enforce_eager", True, True),
        ("enforce_eager", "true", False),
        ("cpu_offload_gb", 4, True),
        ("performance_mode", "throughput", True),
        ("performance_mode", "fast", False),
        ("quantization", "fp8_per_tensor", True),
        ("quantization", "bitsandbytes", False),
        ("kv_cache_dtype", "fp8", True),
        ("kv_cache_dtype", "int8", False),
        ("load_format", "gguf", False),
        ("max_lora_rank", 64, True),
        ("max_lora_rank", 65, False),
        ("speculative_config", {"method": "ngram"}, True),
        ("speculative_config", 3, False),
        ("allowed_media_domains", ["a", "b"], True),
        ("allowed_media_domains", {"a": 1}, False),
    ],
)
def test_an_option_of_vllm_accepts_what_its_flag_takes(name: str, value: object, accepted: bool) -> None:
    assert facts.vllm_options()[name].accepts(value) is accepted


def test_options_of_vllm_have_flags_of_their_own_and_accept_their_defaults() -> None:
    options = facts.vllm_options()
    flags = [flag for option in options.values() for flag in (option.flag, option.negative) if flag]
    assert len(flags) == len(set(flags))
    assert all(option.flag == "--" + name.replace("_", "-") for name, option in options.items())
    assert [n for n, o in options.items() if o.default is not None and not o.accepts(o.default)] == []
    assert all(option.negative is None or option.kind == "bool" for option in options.values())


def test_metrics_of_vllm_are_named_as_prometheus_names_them() -> None:
    metrics = facts.vllm_metrics()
    assert {"vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:time_to_first_token_seconds"} <= set(metrics)
    assert all(re.fullmatch(r"vllm:[a-z][a-z0-9_]*", name) for name in metrics)
    assert all(name.endswith("_total") for name, metric in metrics.items() if metric.type == "counter")
    options = {metric.when for metric in metrics.values() if metric.when and "(" not in metric.when}
    assert options <= set(facts.vllm_options())


def test_parsers_of_vllm_are_known_by_name() -> None:
    assert "hermes" in facts.vllm_parsers("tool")
    assert "qwen3" in facts.vllm_parsers("reasoning")


@pytest.mark.parametrize("name", sorted(facts.families()))
def test_a_family_is_said_in_fields_that_its_configuration_class_has(name: str) -> None:
    family, classes = facts.families()[name], facts.architectures()[name]
    config = getattr(transformers, classes.config)
    known = {field.name for field in dataclasses.fields(config)} | {"rope_theta"}
    if name == "qwen3_moe":  # Its layers read the field, and its class takes it as one that it does not know.
        known.add("head_dim")
    assert config.model_type == name
    assert set(family.fields) <= set(Architecture.model_fields) - {"family"}
    assert set(family.fields.values()) | set(family.constants) <= known
    assert hasattr(transformers, classes.model)


@pytest.mark.parametrize("name", sorted(name for name, each in facts.families().items() if "rope_theta" in each.fields))
def test_the_base_of_rotary_positions_reaches_the_configuration(name: str) -> None:
    family, config_class = facts.families()[name], getattr(transformers, facts.architectures()[name].config)
    config = config_class(**{family.fields["rope_theta"]: 12345.0}, **family.constants)
    assert "12345.0" in json.dumps(config.rope_parameters)


def test_every_family_of_the_language_is_in_the_table() -> None:
    assert set(facts.families()) == set(Architecture.model_fields["family"].annotation.__args__)  # type: ignore[union-attr]


def test_presets_without_bfloat16_are_those_before_ampere() -> None:
    gpus = {name: preset for name, preset in facts.accelerators().items() if preset.compute_capability is not None}
    assert {n for n, p in gpus.items() if not p.bfloat16} == {
        n for n, p in gpus.items() if float(p.compute_capability or 0) < 8
    }
    assert all(preset.resource == "nvidia.com/gpu" and preset.products for preset in gpus.values())
    assert facts.accelerators()["cpu"].resource is None


TEMPLATES = {
    "Qwen/Qwen3-0.6B": "qwen3",
    "Qwen/Qwen2.5-7B-Instruct": "qwen2_5",
    "meta-llama/Meta-Llama-3-8B-Instruct": "llama3",
    "meta-llama/Llama-3.1-8B-Instruct": "llama3_1",
    "meta-llama/Llama-3.2-1B-Instruct": "llama3_2",
    "google/gemma-2-2b-it": "gemma",
    "google/gemma-3-1b-it": "gemma3",
}
"""A model -> what TRL calls its chat template."""


@pytest.mark.parametrize("model", TEMPLATES)
def test_a_tokenizer_is_said_to_do_what_its_template_in_trl_does(model: str) -> None:
    known, name = facts.tokenizers()[model], TEMPLATES[model]
    folder = Path(importlib.import_module("trl").__file__ or "").parent / "chat_templates"
    text = (folder / f"{name}.jinja").read_text("utf-8")
    marked = (folder / f"{name}_training.jinja").is_file()
    assert known.turns_marked is marked
    assert known.begins is ("bos_token" in text)
    assert known.chatml is ("<|im_start|>" in text)
    assert known.thinks is ("</think>" in text)
    assert known.end_of_turn is not None
    assert known.end_of_turn in text


def test_no_table_is_read_before_it_is_asked_for() -> None:
    code = "import llmrecipe.facts as f; print(f._table.cache_info().currsize)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
