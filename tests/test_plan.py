"""Addresses: what makes an artifact moves it, and nothing else does."""

import json
from typing import get_args

import pytest
from pydantic import BaseModel

from llmrecipe.plan import PACKAGES, CheckGates, InputModel, Merge, Plan, Resources, Spec, Stage
from llmrecipe.schema import PLACEMENT
from llmrecipe.vocabulary import Gate

SPECS = get_args(get_args(Spec)[0])


def stage(name: str, spec: BaseModel, **inputs: str) -> Stage:
    return Stage(name=name, spec=spec, inputs=inputs, launcher="process", resources=Resources())


def plan(*stages: Stage, packages: dict[str, str] | None = None) -> Plan:
    return Plan(
        name="a", stages=list(stages), services=[], derived=[], packages=packages or {"torch": "1"}, unpinned=[]
    )


def gates(bound: float) -> CheckGates:
    return CheckGates(kind="check_gates", gates=[Gate(metric="a/b", min=bound)])


MERGE = Merge(kind="merge", model=InputModel(kind="input"), trust_remote_code=False)


def test_every_kind_of_stage_says_which_packages_make_it():
    assert set(PACKAGES) == {get_args(spec.model_fields["kind"].annotation)[0] for spec in SPECS}


def test_a_changed_input_moves_everything_after_it():
    def addresses(bound: float) -> dict[str, str]:
        return plan(
            stage("r/one", gates(bound)), stage("r/two", MERGE, adapter="r/one.model"), stage("r/other", MERGE)
        ).addresses()

    before, after = addresses(0.1), addresses(0.2)
    assert {name for name in before if before[name] != after[name]} == {"r/one", "r/two"}


def test_another_output_of_the_same_stage_is_another_input():
    one = plan(stage("r/one", gates(0.1)), stage("r/two", MERGE, adapter="r/one.model")).addresses()
    two = plan(stage("r/one", gates(0.1)), stage("r/two", MERGE, adapter="r/one.metrics")).addresses()
    assert one["r/two"] != two["r/two"]


def test_an_input_under_another_name_is_another_artifact():
    one = plan(stage("r/one", gates(0.1)), stage("r/two", MERGE, adapter="r/one.model")).addresses()
    two = plan(stage("r/one", gates(0.1)), stage("r/two", MERGE, model="r/one.model")).addresses()
    assert one["r/two"] != two["r/two"]


def test_names_and_resources_do_not_move_an_artifact():
    one = plan(stage("r/one", gates(0.1))).addresses()
    moved = stage("s/uno", gates(0.1)).model_copy(update={"resources": Resources(nodes=4, memory="8Gi")})
    assert list(plan(moved).addresses().values()) == list(one.values())


@pytest.mark.parametrize(("package", "moves"), [("torch", True), ("llmrecipe", True), ("trl", False)])
def test_a_version_moves_what_the_package_makes(package, moves):
    before = plan(stage("r/one", MERGE), packages={"torch": "1", "trl": "1", "llmrecipe": "1"}).addresses()
    versions = {"torch": "1", "trl": "1", "llmrecipe": "1", package: "2"}
    assert (plan(stage("r/one", MERGE), packages=versions).addresses() != before) is moves


def sections(kind: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    seen.add(kind)
    for field in kind.model_fields.values():
        for found in _models(field.annotation):
            if found not in seen:
                sections(found, seen)
    return seen


def _models(annotation: object) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for argument in get_args(annotation) for model in _models(argument)}


ALL = sorted({found for spec in SPECS for found in sections(spec, set())}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_field_of_a_spec_enters_the_address_unless_it_is_marked_as_placement(kind):
    blank = dict.fromkeys(kind.model_fields, "x")
    holder = CheckGates.model_construct(kind="check_gates", gates=[kind.model_construct(**blank)])
    before = plan(Stage.model_construct(name="r/a", spec=holder, inputs={})).addresses()
    for name, field in kind.model_fields.items():
        changed = CheckGates.model_construct(
            kind="check_gates", gates=[kind.model_construct(**{**blank, name: "changed"})]
        )
        after = plan(Stage.model_construct(name="r/a", spec=changed, inputs={})).addresses()
        assert (after == before) is (PLACEMENT in field.metadata), name


def test_only_paths_sizes_and_labels_are_placement():
    marked = {
        f"{kind.__name__}.{name}"
        for kind in ALL
        for name, field in kind.model_fields.items()
        if PLACEMENT in field.metadata
    }
    assert marked == {
        "PinnedFile.path", "PinnedFile.size", "LocalModel.path", "DataSource.label",
        "Train.watchdog", "Train.tracking", "Train.accelerator",
    }  # fmt: skip


def test_a_plan_read_equals_the_plan_printed():
    made = plan(stage("r/one", gates(0.1)), stage("r/two", MERGE, adapter="r/one.model"))
    assert Plan.model_validate_json(json.dumps(made.model_dump())) == made


def test_the_closure_of_a_stage_is_what_it_is_made_from():
    made = plan(stage("r/one", gates(0.1)), stage("r/other", gates(0.2)), stage("r/two", MERGE, adapter="r/one.model"))
    assert [found.name for found in made.closure(made.stage("r/two"))] == ["r/one", "r/two"]
