"""One server, several adapters: what vLLM is told, where the adapters lie, and that the base is there once."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmrecipe.document import Document
from llmrecipe.lint import lint
from llmrecipe.lock import pin
from llmrecipe.lower import lower
from llmrecipe.targets import TARGETS

DOCUMENTS = """\
version: 1
name: start
model:
  base: {architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
tokenizer: {kind: train, vocab_size: 1000}
data: {train: [{kind: files, paths: [corpus.txt], format: text}]}
method: {kind: pretrain}
---
version: 1
name: one
model: {base: {recipe: start}, adapter: {kind: lora, r: 4, lora_alpha: 8}}
data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
method: {kind: sft}
export: {merge: false}
---
version: 1
name: two
model: {base: {recipe: start}, adapter: {kind: lora, init_lora_weights: pissa, rank_pattern: {q_proj: 20}}}
data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
method: {kind: sft}
export: {merge: false}
---
version: 1
name: server
model: {base: {recipe: start}}
hardware: {accelerator: h100-80gb}
serving: {kind: vllm, adapters: [{recipe: one}, {recipe: two}]}
"""


@pytest.fixture
def documents(read: Callable[..., list[Document]], tmp_path: Path) -> list[Document]:
    (tmp_path / "corpus.txt").write_text("words\n")
    (tmp_path / "chats.jsonl").write_text('{"messages": []}\n')
    return read(DOCUMENTS)


@pytest.fixture
def plan(documents: list[Document], tmp_path: Path) -> Any:
    return lower([document.recipe for document in documents], pin(documents, tmp_path))


def test_a_server_with_adapters_is_clean(documents: list[Document]) -> None:
    assert [diagnostic.code for diagnostic in lint(documents)] == []


def test_the_server_knows_its_adapters_and_makes_room_for_the_largest(plan: Any) -> None:
    (service,) = plan.services
    assert service.adapters == {"one": "one/export.model", "two": "two/export.model"}
    assert service.arguments["enable_lora"] is True
    assert service.arguments["max_loras"] == 2
    assert service.arguments["max_lora_rank"] == 64  # 20, twice as it is exported, and the next that vLLM has


def test_adapters_share_their_base_and_what_it_was_made_from(plan: Any) -> None:
    names = [stage.name for stage in plan.stages]
    assert len([name for name in names if name.startswith("start/")]) == 5
    for name in ("one", "two"):
        assert plan.stage(f"{name}/train").inputs["model"] == "start/export.model"
        assert not any(stage == f"{name}/merge" for stage in names)
    addresses = plan.addresses()
    assert addresses["one/prepare-data"] == addresses["two/prepare-data"]
    assert addresses["one/tokenize"] == addresses["two/tokenize"]
    assert addresses["one/train"] != addresses["two/train"]


def test_the_script_loads_each_adapter_under_its_name(plan: Any, tmp_path: Path) -> None:
    script = TARGETS["vllm"].render(plan, "/data")["vllm/server.sh"]
    addresses = plan.addresses()
    assert "--lora-modules" in script
    for name in ("one", "two"):
        assert f'{name}="$root/.llmrecipe/artifacts/{addresses[f"{name}/export"]}/model"' in script
    file = tmp_path / "server.sh"
    file.write_text(script)
    subprocess.run(["bash", "-n", str(file)], check=True)


def test_containers_mount_each_adapter(plan: Any) -> None:
    composed = yaml.safe_load(TARGETS["compose"].render(plan, ".")["compose/compose.yaml"])
    server = composed["services"]["server-0"]
    assert server["command"][-3:] == ["--lora-modules", "one=/adapters/one", "two=/adapters/two"]
    assert [volume["target"] for volume in server["volumes"]][-2:] == ["/adapters/one", "/adapters/two"]
