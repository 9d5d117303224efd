"""What must hold of the shipped examples: preflight finds nothing in any of them."""

from pathlib import Path

import pytest

from llmrecipe.cli.examining import diagnostics
from llmrecipe.lock import pin
from llmrecipe.lower import lower
from llmrecipe.plan import Train
from llmrecipe.preflight.check import Tier
from llmrecipe.preflight.examine import examine
from llmrecipe.preflight.job import Examination
from llmrecipe.resolve import resolve
from llmrecipe.validate import validate

ROOT = Path(__file__).parent.parent / "examples"
EXAMPLES = [ROOT / "quickstart/recipe.yaml", ROOT / "lora/recipe.yaml", *sorted((ROOT / "methods").glob("*.yaml"))]
QUICK: list[Tier] = ["rows", "model", "machine"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.relative_to(ROOT).with_suffix("").as_posix())
@pytest.mark.parametrize("tiers", [QUICK, pytest.param(["trial"], marks=pytest.mark.slow)], ids=["quick", "trial"])
def test_an_example_is_clean(file, tiers, tmp_path):
    documents = validate(resolve(str(file), ()))
    plan = lower([document.recipe for document in documents], pin(documents, file.parent, None))
    job = Examination(
        plan=plan,
        stages=[stage.name for stage in plan.stages if isinstance(stage.spec, Train)],
        store=str(tmp_path / "store"),
        root=str(file.parent),
        scratch=str(tmp_path / "scratch"),
        tiers=tiers,
    )
    assert job.stages
    answer = examine(job)
    assert [(one.code, one.message) for one in diagnostics(answer, documents)] == []
    assert all("cannot" not in reason for examined in answer.examined for reason in examined.untried)
