"""The names that vLLM knows are read from its source alone."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))

import generate_vllm_facts as generator

from llmrecipe import facts

SOURCES = {
    "vllm/model_executor/layers/quantization/__init__.py": 'QuantizationMethods = Literal["fp8", "awq"]\n',
    "vllm/config/cache.py": 'CacheDType = Literal["auto", "fp8"]\n',
    "vllm/model_executor/model_loader/__init__.py": (
        '_LOAD_FORMAT_TO_MODEL_LOADER: dict[str, type] = {"pt": Loader, "auto": Loader}\n'
    ),
    "vllm/tool_parsers/__init__.py": 'small = {"a": 1}\ntable = {"hermes": (1, 2), "beam": (3, 4)}\n',
    "vllm/reasoning/__init__.py": 'table = {"qwen3": ("module", "Class")}\n',
    "vllm/v1/metrics/loggers.py": (
        'a = self._gauge_cls(name="vllm:num_requests_running", documentation="...", labelnames=labels)\n'
        'b = self._counter_cls(name="vllm:num_preemptions", documentation="...")\n'
        'c = self._gauge_cls(name="vllm:lora_requests_info", documentation="...")\n'
        'd = self._gauge_cls(name="other", documentation="...")\n'
    ),
    "vllm/v1/metrics/perf.py": 'a = self._counter_cls(name="vllm:estimated_flops_per_gpu_total")\n',
    "vllm/v1/spec_decode/metrics.py": 'specs = [("vllm:spec_decode_num_drafts", "...")]\n',
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "vllm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, source in SOURCES.items():
            file.writestr(name, source)
    return path


def test_metrics_are_named_as_a_server_writes_them(wheel: Path) -> None:
    assert generator.metrics(generator.read(wheel)) == {
        "vllm:cache_config_info": {"type": "gauge"},
        "vllm:estimated_flops_per_gpu_total": {"type": "counter", "when": "enable_mfu_metrics"},
        "vllm:lora_requests_info": {"type": "gauge", "when": "enable_lora"},
        "vllm:num_preemptions_total": {"type": "counter"},
        "vllm:num_requests_running": {"type": "gauge"},
        "vllm:spec_decode_num_drafts_total": {"type": "counter", "when": "speculative_config"},
    }


def test_tables_take_the_names_and_keep_the_rest(wheel: Path) -> None:
    before = (generator.FACTS / "vllm.json").read_text("utf-8")
    after = json.loads(generator.options_text(before, generator.read(wheel)))
    assert after["options"]["quantization"]["choices"] == ["fp8", "awq"]
    assert after["options"]["load_format"]["choices"] == ["auto", "pt"]
    assert (after["tool_parsers"], after["reasoning_parsers"]) == (["beam", "hermes"], ["qwen3"])
    changed = {"quantization", "kv_cache_dtype", "load_format"}
    kept = {name: option for name, option in json.loads(before)["options"].items() if name not in changed}
    assert kept == {name: option for name, option in after["options"].items() if name not in changed}


def test_what_is_stale_is_said(wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("vllm.json", "vllm_metrics.json"):
        (tmp_path / name).write_text((generator.FACTS / name).read_text("utf-8"))
    monkeypatch.setattr(generator, "FACTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate_vllm_facts.py", str(wheel), "--check"])
    assert generator.main() == 1
    monkeypatch.setattr(sys, "argv", ["generate_vllm_facts.py", str(wheel)])
    assert generator.main() == 0
    monkeypatch.setattr(sys, "argv", ["generate_vllm_facts.py", str(wheel), "--check"])
    assert generator.main() == 0


def test_the_tables_are_of_one_release_and_of_the_image_that_serves() -> None:
    versions = {
        json.loads((generator.FACTS / name).read_text())["version"] for name in ("vllm.json", "vllm_metrics.json")
    }
    assert versions == {facts.vllm_version()}
    fields = json.loads((generator.FACTS / "fields.json").read_text())
    assert fields["serving.image"][0]["default"] == f"vllm/vllm-openai:v{facts.vllm_version()}"
