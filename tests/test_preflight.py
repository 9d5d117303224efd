"""What must hold of preflight checks: each finds its mistake at the right place, and nothing in the mended recipe."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import processors

from llmrecipe import trust
from llmrecipe.facts import checks
from llmrecipe.lock import pin
from llmrecipe.lower import lower
from llmrecipe.plan import PinnedFunction, Plan, Train
from llmrecipe.preflight.artifacts import Artifacts
from llmrecipe.preflight.case import Case
from llmrecipe.preflight.checks import CHECKS
from llmrecipe.preflight.examine import _file, _findings
from llmrecipe.preflight.job import Examination, Found
from llmrecipe.remote import CHECKS as REMOTE_CHECKS
from llmrecipe.resolve import resolve
from llmrecipe.validate import validate

FIXTURES = Path(__file__).with_name("preflight")
BASE: dict[str, Any] = {
    "version": 1,
    "name": "style",
    "model": {"base": "./model"},
    "data": {"train": [{"kind": "files", "paths": ["chats.jsonl"], "format": "messages"}]},
    "method": {"kind": "sft"},
    "training": {"max_length": 128, "per_device_train_batch_size": 2, "max_steps": 20},
}
ALL_ENTRIES = [entry for file in sorted(FIXTURES.glob("*.yaml")) for entry in yaml.safe_load(file.read_text("utf-8"))]
ENTRIES = [entry for entry in ALL_ENTRIES if CHECKS[entry["code"]].tier in ("rows", "model")]
"""Those of trials.yaml have a test of their own."""


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Mappings merge, but for a section whose kind changes."""
    result = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        if both and value.get("kind", result[key].get("kind")) == result[key].get("kind"):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def without_nulls(value: Any) -> Any:
    """What null removes is gone."""
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return value


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A plain model, and some with one mistake each."""
    root = tmp_path_factory.mktemp("models")
    small.saved_model(root / "model")
    for name, change in MODELS.items():
        shutil.copytree(root / "model", root / name)
        change(root / name)
    return root


def _begins(folder: Path) -> None:
    tokenizer = small.tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<pad>"})
    single = [("<pad>", tokenizer.convert_tokens_to_ids("<pad>"))]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<pad> $A", pair="<pad> $A $B", special_tokens=single
    )
    tokenizer.save_pretrained(folder)


def _grows(folder: Path) -> None:
    tokenizer = small.tokenizer()
    tokenizer.add_tokens([f"<new{number}>" for number in range(8)])
    tokenizer.save_pretrained(folder)


def _untrained(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][1] = 0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _experts(folder: Path) -> None:
    shutil.rmtree(folder)
    small.model("qwen3_moe", moe_intermediate_size=128).save_pretrained(folder)
    small.tokenizer().save_pretrained(folder)


def _broken(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}", "utf-8")


MODELS = {"broken": _broken, "begins": _begins, "grows": _grows, "untrained": _untrained, "experts": _experts}


def rows_of(text: Any) -> str:
    """Lines of a file: rows, or `{repeat: N, row: {...}}` with `@` as the number."""
    lines = []
    for row in text if isinstance(text, list) else [text]:
        for number in range(row.get("repeat", 1)):
            line = json.dumps(row["row"] if "repeat" in row else row, ensure_ascii=False)
            lines.append(line.replace("@", f"{number}"))
    return "".join(f"{line}\n" for line in lines)


def case_of(folder: Path, models: Path, part: dict[str, Any], tiers: list[Any]) -> Case:
    """The case of a fixture, written into a folder."""
    shutil.copytree(models / part.get("model", "model"), folder / "model")
    for name, content in part.get("files", {}).items():
        (folder / name).write_text(content if isinstance(content, str) else rows_of(content), "utf-8")
    recipe = without_nulls(merged(BASE, part.get("recipe", {})))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), "utf-8")
    plan = plan_of(folder / "recipe.yaml")
    job = Examination(
        plan=plan, stages=["style/train"], store=str(folder / "store"), root=str(folder),
        scratch=str(folder / "scratch"), tiers=tiers, allow_code=part.get("allow_code", False),
    )  # fmt: skip
    return Case(job, plan.stage("style/train"), Artifacts(job))


def plan_of(file: Path) -> Plan:
    """What a recipe file comes to."""
    documents = validate(resolve(str(file), ()))
    return lower([document.recipe for document in documents], pin(documents, file.parent, None))


def found_in(case: Case) -> Iterator[Found]:
    """Findings of the checks of its tiers."""
    return _findings(case, [check for check in CHECKS.values() if check.tier in case.job.tiers])


@pytest.mark.parametrize("side", ["failing", "mended"])
@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["code"] for entry in ENTRIES])
def test_a_check_finds_its_mistake_and_nothing_in_what_is_mended(entry, side, models, tmp_path):
    part = {**entry, **entry.get(side, {})}
    part["recipe"] = merged(entry.get("recipe", {}), entry.get(side, {}).get("recipe", {}))
    found = list(found_in(case_of(tmp_path, models, part, ["rows", "model"])))
    if side == "mended":
        assert [(one.code, one.message) for one in found] == []
        return
    assert {one.code for one in found} == {entry["code"], *entry.get("also", [])}, found
    mine = next(one for one in found if one.code == entry["code"])
    assert mine.at == entry["at"]
    assert all(word in mine.message for word in entry.get("says", [])), mine.message
    assert mine.severity == entry.get("severity", CHECKS[entry["code"]].severity)


def test_every_check_has_a_fixture() -> None:
    assert {entry["code"] for entry in ALL_ENTRIES} == CHECKS.keys()


def test_rules_know_codes_and_names_of_all_checks() -> None:
    assert checks() == {code: check.name for code, check in {**CHECKS, **REMOTE_CHECKS}.items()}


@pytest.mark.parametrize("code", sorted(CHECKS))
def test_every_check_has_a_page(code):
    page = CHECKS[code].page
    for part in ("## What it does", "## Why is this bad?", "## How to mend it", "## Source"):
        assert part in page


def test_a_kept_result_depends_on_what_may_run(models, tmp_path, monkeypatch):
    function = {"kind": "python", "path": "score.py", "function": "score"}
    data = {"train": [{"kind": "files", "paths": ["problems.jsonl"], "format": "prompt"}]}
    recipe = {"data": data, "method": {"kind": "ppo", "max_completion_length": 16, "reward_functions": [function]}}
    files = {"problems.jsonl": [{"prompt": "Count", "reference": "1"}], "score.py": "def score(**columns): ...\n"}
    case = case_of(tmp_path, models, {"recipe": recipe, "files": files}, ["rows"])
    (reward,) = case.spec.rewards
    assert isinstance(reward, PinnedFunction)
    before = _file(case.job, case)
    monkeypatch.setattr(trust, "trusted", lambda: frozenset({"0" * 64}))
    assert _file(case.job, case) == before
    monkeypatch.setattr(trust, "trusted", lambda: frozenset({"0" * 64, reward.file.sha256}))
    assert _file(case.job, case) != before


def test_the_trainings_of_the_base_recipe_are_clean(models, tmp_path):
    case = case_of(tmp_path, models, {"files": {"chats.jsonl": CHATS}}, ["rows", "model", "machine"])
    assert isinstance(case.spec, Train)
    assert list(found_in(case)) == []


CHATS = [
    {
        "repeat": 12,
        "row": {
            "messages": [
                {"role": "user", "content": "How many are @?"},
                {"role": "assistant", "content": "They are @, all of them."},
            ]
        },
    }
]
