"""Recipe -> plan: which stages, from what, and with which derived values."""

import dataclasses
import importlib

import pytest

from llmrecipe import facts
from llmrecipe.accelerating import Launched
from llmrecipe.lock import pin
from llmrecipe.lower import LoweringError, lower
from llmrecipe.methods import METHODS
from llmrecipe.plan import Evaluate, Plan, Tokenize, Train

SCRATCH = """
version: 1
name: base
model:
  base:
    architecture: {family: qwen3, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
tokenizer: {kind: train, vocab_size: 400}
data:
  train: [{kind: files, paths: [text.txt], format: text}]
  validation: {fraction: 0.1}
method: {kind: pretrain}
training: {max_steps: 10, global_batch_size: 32, per_device_train_batch_size: 8, max_length: 128}
evaluation: {suites: [{kind: perplexity}]}
"""

PIPELINE = (
    SCRATCH
    + """---
version: 1
name: chat
model: {base: {recipe: base}, adapter: {kind: lora, r: 4}}
data: {train: [{kind: files, paths: [chat.jsonl], format: messages}]}
method: {kind: sft}
evaluation:
  suites: [{kind: generation, name: held-out, sources: [{kind: files, paths: [chat.jsonl], format: messages}]}]
  gates: [{metric: held-out/exact_match, min: 0.5}]
serving: {kind: vllm, max_model_len: 128}
"""
)


@pytest.fixture
def planned(read, write, tmp_path):
    def planned(text: str, *overrides: str, world_size: int | None = None) -> Plan:
        if not (tmp_path / "text.txt").exists():
            write("text.txt", "some text")
            write("chat.jsonl", '{"messages": []}')
        documents = read(text, *overrides)
        launched = None if world_size is None else Launched(1, world_size)
        return lower([d.recipe for d in documents], pin(documents, tmp_path), launched)

    return planned


def derived(plan: Plan) -> dict[str, object]:
    return {f"{value.recipe}:{value.field}": value.value for value in plan.derived}


def test_a_pipeline_is_one_chain_of_stages(planned):
    plan = planned(PIPELINE)
    assert {stage.name: stage.inputs for stage in plan.stages} == {
        "base/prepare-data": {},
        "base/train-tokenizer": {"rows": "base/prepare-data.rows"},
        "base/tokenize": {"rows": "base/prepare-data.rows", "tokenizer": "base/train-tokenizer.tokenizer"},
        "base/train": {"dataset": "base/tokenize.dataset", "tokenizer": "base/tokenize.tokenizer"},
        "base/evaluate-perplexity": {"model": "base/train.model", "dataset": "base/tokenize.dataset"},
        "base/export": {
            "model": "base/train.model",
            "prepare_report": "base/prepare-data.report",
            "tokenize_report": "base/tokenize.report",
            "train_metrics": "base/train.metrics",
            "metrics_perplexity": "base/evaluate-perplexity.metrics",
        },
        "chat/prepare-data": {},
        "chat/tokenize": {"rows": "chat/prepare-data.rows", "model": "base/export.model"},
        "chat/train": {
            "dataset": "chat/tokenize.dataset",
            "tokenizer": "chat/tokenize.tokenizer",
            "model": "base/export.model",
        },
        "chat/merge": {"adapter": "chat/train.model", "model": "base/export.model"},
        "chat/evaluate-held-out": {"model": "chat/merge.model"},
        "chat/check-gates": {"held-out": "chat/evaluate-held-out.metrics"},
        "chat/export": {
            "model": "chat/merge.model",
            "prepare_report": "chat/prepare-data.report",
            "tokenize_report": "chat/tokenize.report",
            "train_metrics": "chat/train.metrics",
            "metrics_held-out": "chat/evaluate-held-out.metrics",
            "gates": "chat/check-gates.gates",
        },
    }


def test_every_input_is_an_earlier_stage(planned):
    seen: set[str] = set()
    for stage in planned(PIPELINE).stages:
        assert {ref.partition(".")[0] for ref in stage.inputs.values()} <= seen
        seen.add(stage.name)


LEARNT = "chat/train chat/merge chat/evaluate-held-out chat/check-gates chat/export"
CHANGES = [
    (
        "base:training.learning_rate=1e-4",
        f"base/train base/evaluate-perplexity base/export chat/tokenize {LEARNT}",
    ),
    ("chat:model.adapter.r=8", LEARNT),
    ("chat:evaluation.gates.0.min=0.6", "chat/check-gates chat/export"),
    ("chat:serving.max_model_len=64", ""),
    ("chat:hardware.memory=64Gi", ""),
    ("chat:hardware={accelerator: h100-80gb, memory: 64Gi}", LEARNT),
    ("chat:export.license=mit", "chat/export"),
    ("chat:data.train.0.max_samples=1", f"chat/prepare-data chat/tokenize {LEARNT}"),
]


@pytest.mark.parametrize(("change", "moved"), CHANGES, ids=[change for change, _ in CHANGES])
def test_a_change_reaches_exactly_what_depends_on_it(planned, change, moved):
    before, after = planned(PIPELINE).addresses(), planned(PIPELINE, change).addresses()
    assert " ".join(name for name in before if before[name] != after[name]) == moved


def test_changed_bytes_of_a_data_file_move_what_is_made_from_them(planned, write):
    before = planned(PIPELINE).addresses()
    write("chat.jsonl", '{"messages": [1]}')
    after = planned(PIPELINE).addresses()
    assert {name for name in before if before[name] == after[name]} == {name for name in before if "base/" in name}


def test_a_renamed_data_file_moves_nothing(planned, write, tmp_path):
    before = planned(SCRATCH).addresses()
    (tmp_path / "text.txt").rename(tmp_path / "other.txt")
    after = planned(SCRATCH, "data.train.0.paths=[other.txt]").addresses()
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {"base/export"}, "only the model card shows the path"


def test_the_same_bytes_under_an_extension_that_reads_them_otherwise_are_another_input(planned, write, tmp_path):
    before = planned(SCRATCH).addresses()
    (tmp_path / "text.txt").rename(tmp_path / "text.jsonl")
    after = planned(SCRATCH, "data.train.0.paths=[text.jsonl]").addresses()
    assert before["base/prepare-data"] != after["base/prepare-data"]


def test_gradient_accumulation_is_derived_from_the_global_batch(planned):
    plan = planned(SCRATCH)
    spec = plan.stage("base/train").spec
    assert isinstance(spec, Train)
    assert spec.arguments["gradient_accumulation_steps"] == 4
    assert derived(plan)["base:training.gradient_accumulation_steps"] == 4


SPLIT = ("distributed={kind: fsdp, tensor_parallel_size: 2}", "hardware={accelerator: h100-80gb, num_accelerators: 4}")


def test_processes_that_see_the_same_rows_count_once(planned):
    plan = planned(SCRATCH, *SPLIT)
    spec = plan.stage("base/train").spec
    assert (spec.world_size, spec.arguments["gradient_accumulation_steps"]) == (4, 2)
    assert ("distributed.data_parallel_size", 2) in [(found.field, found.value) for found in plan.derived]


def test_processes_that_make_no_groups_are_refused(planned):
    with pytest.raises(LoweringError, match="3 processes cannot be put into groups of 2") as error:
        planned(SCRATCH, *SPLIT, world_size=3)
    assert error.value.location == ("distributed", "tensor_parallel_size")


def test_a_launcher_that_runs_already_sets_the_world_size(planned):
    spec = planned(SCRATCH, world_size=2).stage("base/train").spec
    assert isinstance(spec, Train)
    assert (spec.world_size, spec.arguments["gradient_accumulation_steps"]) == (2, 2)


def test_a_batch_that_the_launcher_cannot_make_is_refused(planned):
    with pytest.raises(LoweringError, match="32 sequences cannot be made of 3") as error:
        planned(SCRATCH, world_size=3)
    assert error.value.location == ("training", "global_batch_size")


def test_values_that_the_recipe_leaves_out_are_derived_and_told(planned):
    assert derived(planned(PIPELINE)) == {
        "base:data.packing": "bfd_split",
        "base:training.gradient_accumulation_steps": 4,
        "base:training.learning_rate": 5e-4,
        "base:training.precision": "float32",
        "base:training.schedule": {"kind": "cosine", "warmup_ratio": 0.03},
        "base:model.base.architecture.num_key_value_heads": 4,
        "base:model.base.architecture.head_dim": 16,
        "base:model.base.architecture.intermediate_size": 256,
        "base:model.base.architecture.max_position_embeddings": 128,
        "base:model.dtype": "float32",
        "chat:data.packing": "none",
        "chat:training.global_batch_size": 8,
        "chat:training.learning_rate": 2e-4,
        "chat:training.num_train_epochs": 1.0,
        "chat:training.precision": "float32",
        "chat:training.schedule": {"kind": "cosine", "warmup_ratio": 0.03},
    }


@pytest.mark.parametrize(("accelerator", "bf16"), [("h100-80gb", True), ("t4-16gb", False), ("cpu", False)])
def test_automatic_precision_follows_the_declared_accelerator(planned, accelerator, bf16):
    spec = planned(SCRATCH, f"hardware.accelerator={accelerator}").stage("base/train").spec
    assert isinstance(spec, Train)
    assert spec.arguments["bf16"] is bf16


SCHEDULES = [
    ("{kind: constant, warmup_steps: 5}", "constant_with_warmup", 5, None),
    ("{kind: linear, warmup_ratio: 0.1}", "linear", 0.1, None),
    ("{kind: cosine}", "cosine", 0, None),
    ("{kind: cosine, min_lr_ratio: 0.1}", "cosine_with_min_lr", 0, {"min_lr_rate": 0.1}),
    (
        "{kind: warmup_stable_decay, decay_steps: 3}",
        "warmup_stable_decay",
        0,
        {"num_decay_steps": 3, "decay_type": "1-sqrt", "min_lr_ratio": 0.0},
    ),
]


@pytest.mark.parametrize(("schedule", "kind", "warmup", "options"), SCHEDULES)
def test_a_schedule_is_said_in_the_trainers_words(planned, schedule, kind, warmup, options):
    spec = planned(SCRATCH, f"training.schedule={schedule}").stage("base/train").spec
    assert isinstance(spec, Train)
    found = spec.arguments
    assert (found["lr_scheduler_type"], found["warmup_steps"], found.get("lr_scheduler_kwargs")) == (
        kind,
        warmup,
        options,
    )


VARIANTS = [
    "training.optimizer={kind: muon}",
    "training.optimizer={kind: adafactor}",
    "training.optimizer={kind: sgd}",
    "training.eval_steps=5",
    "training.schedule={kind: warmup_stable_decay, decay_steps: 3}",
    "training.optimizer={kind: adamw, bits: 8, paged: true}",
    "training.optimizer={kind: lion}",
    "training.optimizer={kind: ademamix, ramp_steps: 5}",
    "training.optimizer={kind: schedule_free}",
    "training.schedule={kind: inverse_sqrt}",
    "training.neftune_noise_alpha=5.0",
    "training.label_smoothing=0.1",
    "training.extra={torch_empty_cache_steps: 5}",
]
NEEDED = {
    "reward_functions": "reward_functions: [{kind: exact_match}]",
    "teacher": "teacher: ./",
    "teacher_model": "teacher_model: ./",
}
"""Field of a method -> a value, where it has to be written."""


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_argument_is_a_field_of_the_installed_configuration(planned, method, variant):
    kind = method.model_fields["kind"].annotation.__args__[0]
    options = "".join(f", {option}" for name, option in NEEDED.items() if name in method.model_fields)
    plan = planned(SCRATCH, f"method={{kind: {kind}{options}}}", f"data.train.0.format={method.rows[0]}", variant)
    spec = plan.stage("base/train").spec
    assert isinstance(spec, Train)
    module, _, name = spec.config.partition(":")
    config = getattr(importlib.import_module(module), name)
    assert set(spec.arguments) <= {field.name for field in dataclasses.fields(config)}
    assert set(spec.arguments) <= set(facts.trainer_fields(spec.config))


def test_an_adapter_that_is_not_merged_is_judged_on_its_base(planned):
    plan = planned(PIPELINE, "chat:export={merge: false}")
    assert plan.stage("chat/evaluate-held-out").inputs == {"adapter": "chat/train.model", "model": "base/export.model"}
    assert plan.stage("chat/export").inputs["model"] == "chat/train.model"
    assert "chat/merge" not in {stage.name for stage in plan.stages}


def test_a_recipe_that_only_judges_and_serves_has_no_training(planned):
    taught = """data: {train: [{kind: files, paths: [chat.jsonl], format: messages}]}
method: {kind: sft}
"""
    text = PIPELINE.replace(taught, "").replace(", adapter: {kind: lora, r: 4}", "")
    plan = planned(text)
    assert [stage.name for stage in plan.stages if stage.name.startswith("chat/")] == [
        "chat/evaluate-held-out",
        "chat/check-gates",
        "chat/export",
    ]
    spec = plan.stage("chat/evaluate-held-out").spec
    assert isinstance(spec, Evaluate)
    assert spec.model.kind == "input"


def test_a_local_base_is_pinned_by_its_bytes_and_its_tokenizer_is_used(planned, write):
    write("model/config.json", "{}")
    text = PIPELINE.partition("---")[2].replace("{recipe: base}", "./model")
    before = planned(text)
    spec = before.stage("chat/tokenize").spec
    assert isinstance(spec, Tokenize)
    assert spec.tokenizer is not None
    assert spec.tokenizer.kind == "local"
    write("model/config.json", '{"a": 1}')
    assert planned(text).addresses()["chat/train"] != before.addresses()["chat/train"]


def test_a_hub_base_without_a_commit_is_told(planned):
    plan = planned(PIPELINE.partition("---")[2].replace("{recipe: base}", "some/model"))
    assert plan.unpinned == ["model some/model"]


def test_paths_in_a_plan_start_from_the_folder_of_the_recipe(planned, tmp_path):
    text = planned(PIPELINE).model_dump_json()
    assert str(tmp_path) not in text
    assert '"path":"chat.jsonl"' in text


def test_the_service_names_the_export_and_its_options(planned):
    (service,) = planned(PIPELINE).services
    assert service.model == "chat/export.model"
    assert service.arguments == {"tensor_parallel_size": 1, "max_model_len": 128, "dtype": "auto"}
    assert service.weight_bytes is not None


def test_writing_a_default_moves_nothing(planned):
    assert planned(PIPELINE, "chat:export.merge=true").addresses() == planned(PIPELINE).addresses()
