"""TRL's own command line: what of a configuration means something together, and keys that mean something alone."""

from typing import Any

from llmrecipe import facts
from llmrecipe.importing.axolotl.model import special_token
from llmrecipe.importing.case import Case, Rule, Step, Tool
from llmrecipe.importing.extra import method_named
from llmrecipe.importing.huggingface import RULES as ARGUMENTS
from llmrecipe.importing.huggingface import default_logging, gradient_checkpointing
from llmrecipe.importing.spreading import SPREAD_KEYS, spread
from llmrecipe.importing.surroundings import attention, attention_untold, base, hardware, name
from llmrecipe.importing.templates import HELP, TEMPLATE
from llmrecipe.importing.training import (
    ADAM_KEYS,
    EVALUATION_KEYS,
    HUGGING_FACE,
    SAVING_KEYS,
    SCHEDULE_KEYS,
    amount,
    batch,
    checkpoints,
    evaluation,
    length,
    optimizer,
    precision,
    rate,
    schedule,
)
from llmrecipe.importing.trl.data import DATA_KEYS, data
from llmrecipe.importing.trl.method import METHOD_KEYS, method
from llmrecipe.importing.values import boolean, decimal, drop, only, positive, text, texts, to, word
from llmrecipe.source import Path

# -- devices --

LAUNCH_KEYS = ("num_processes", "num_machines", "accelerate_config", "use_cpu")

_PROFILES: dict[str, dict[str, Any]] = {
    "single_gpu": {"kind": "single"},
    "multi_gpu": {"kind": "ddp"},
    "zero1": {"kind": "deepspeed", "zero_stage": 1},
    "zero2": {"kind": "deepspeed", "zero_stage": 2},
    "zero3": {"kind": "deepspeed", "zero_stage": 3},
    "fsdp1": {"kind": "fsdp"},
    "fsdp2": {"kind": "fsdp"},
}
"""Launch configurations that come with TRL."""


def _devices(case: Case) -> None:
    machines = case.read("num_machines", positive) or 1
    processes = case.read("num_processes", positive)
    newest = case.get("attn_implementation") == "flash_attention_3"
    hardware(case, None if processes is None else max(1, processes // machines), bool(case.get("use_cpu")), newest)
    if machines > 1:
        case.put("hardware.num_nodes", machines)
    case.map("num_machines", "hardware.num_nodes")
    case.map("num_processes", "hardware.num_accelerators", None, "processes of one machine")
    case.map("use_cpu", "hardware.accelerator")


def _spread(case: Case) -> None:
    profile = word(case.get("accelerate_config", ""))
    spread(case)
    if profile in _PROFILES:
        case.map("accelerate_config", "distributed", dict(_PROFILES[profile]))
    elif profile:
        help_ = "write it into `distributed`"
        case.block("accelerate_config", f"`{profile}` is no configuration that TRL brings", help_, "missing-for-import")


# -- model --

MODEL_KEYS = (
    "model_name_or_path",
    "model_revision",
    "dtype",
    "torch_dtype",
    "attn_implementation",
    "model_init_kwargs",
    "gradient_checkpointing",
    "activation_checkpointing",
)
ADAPTER_KEYS = (
    "use_peft",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "lora_target_parameters",
    "lora_modules_to_save",
    "lora_task_type",
    "use_rslora",
    "use_dora",
    "load_in_8bit",
    "load_in_4bit",
    "bnb_4bit_quant_type",
    "use_bnb_nested_quant",
    "bnb_4bit_quant_storage",
)


def _model(case: Case) -> None:
    base(case, "model_name_or_path")
    revision = case.get("model_revision", "main")
    if revision != "main":
        case.map("model_revision", "model.revision", str(revision))
    case.drop("model_revision", "the newest, as without it")
    key = "dtype" if case.has("dtype") else "torch_dtype"
    kind = case.get(key)
    if kind in ("auto", "bfloat16", "float16", "float32"):
        case.map(key, "model.dtype", kind)
    elif kind is not None:
        case.block(key, f"`{kind}` is no type of weights", "write `bfloat16`", "unfit-imported-value")
    else:
        case.imply("model.dtype", "float32", "float32 without being told, under an adapter too")
    if case.has("attn_implementation"):
        attention(case, "attn_implementation", case.get("attn_implementation"))
    options = case.get("model_init_kwargs", {})
    for name_ in options if isinstance(options, dict) else ():
        _init(case, ("model_init_kwargs", name_))
    attention_untold(case)
    gradient_checkpointing(case, ("activation_checkpointing", "gradient_checkpointing"), True)
    for each in ("gradient_checkpointing", "activation_checkpointing"):
        case.drop(each, "the other of its two names says it")


def _init(case: Case, path: Path) -> None:
    fields = {
        "dtype": "dtype",
        "torch_dtype": "dtype",
        "revision": "revision",
        "trust_remote_code": "trust_remote_code",
    }
    value = case.get(path)
    if path[-1] in fields and value is not None:
        case.map(path, f"model.{fields[str(path[-1])]}", value)
    elif path[-1] == "attn_implementation":
        attention(case, path, value)
    elif path[-1] == "use_kernels" and isinstance(value, bool):
        case.map(path, "training.kernels", "liger" if value else "none")
    elif path[-1] in ("device_map", "use_cache", "low_cpu_mem_usage"):
        case.drop(path, "how the model is read is decided by the run")
    else:
        case.block(path, f"`{path[-1]}` of the model has no equal here", "remove it")


def _adapter(case: Case) -> None:
    if not case.read("use_peft", boolean):
        for key in ADAPTER_KEYS:
            case.drop(key, "without `use_peft` every weight is trained, and it is passed over")
        return
    dora = case.read("use_dora", boolean)
    case.put("model.adapter", {"kind": "dora" if dora else "lora"})
    case.map("use_peft", "model.adapter.kind")
    case.map("use_dora", "model.adapter.kind")
    for key, field, convert, default in (
        ("lora_r", "r", positive, 16),
        ("lora_alpha", "lora_alpha", positive, 32),
        ("lora_dropout", "lora_dropout", decimal, 0.05),
    ):
        value = case.read(key, convert)
        if value is None:
            case.imply(f"model.adapter.{field}", default, f"{default} without being told")
        else:
            case.map(key, f"model.adapter.{field}", value)
    _targets(case)
    for key, field, convert_ in (
        ("lora_modules_to_save", "modules_to_save", texts),
        ("use_rslora", "use_rslora", boolean),
    ):
        found: Any = case.read(key, convert_)
        if found is not None:
            case.map(key, f"model.adapter.{field}", found)
    case.drop("lora_task_type", "it follows from the method")
    _quantization(case)


def _targets(case: Case) -> None:
    modules, parameters = case.read("lora_target_modules", texts), case.read("lora_target_parameters", texts)
    if modules is not None:
        found: Any = "all-linear" if modules == ["all-linear"] else modules
        case.map("lora_target_modules", "model.adapter.target_modules", found)
    elif parameters:
        case.imply("model.adapter.target_modules", [], "only `lora_target_parameters` are named")
    else:
        because = "PEFT's own choice for most families, which is taken when nothing is named"
        case.imply("model.adapter.target_modules", ["q_proj", "v_proj"], because)
    if parameters:
        case.map("lora_target_parameters", "model.adapter.target_parameters", parameters)


def _quantization(case: Case) -> None:
    four, eight = case.read("load_in_4bit", boolean), case.read("load_in_8bit", boolean)
    if four:
        case.map("load_in_4bit", "model.quantization", {"kind": "nf4"})
        nested = case.read("use_bnb_nested_quant", boolean)
        if nested is None:
            case.imply("model.quantization.double_quantization", False, "scales are not quantized without being told")
        else:
            case.map("use_bnb_nested_quant", "model.quantization.double_quantization", nested)
        storage = case.get("bnb_4bit_quant_storage")
        if storage is not None:
            case.map("bnb_4bit_quant_storage", "model.quantization.quant_storage", storage)
        if case.get("bnb_4bit_quant_type", "nf4") != "nf4":
            case.block("bnb_4bit_quant_type", "4 bits of another type have no equal here", "use `nf4`")
    elif eight:
        case.map("load_in_8bit", "model.quantization", {"kind": "int8"})
    for key in (
        "load_in_4bit",
        "load_in_8bit",
        "bnb_4bit_quant_type",
        "use_bnb_nested_quant",
        "bnb_4bit_quant_storage",
    ):
        case.drop(key, "it says what is taken anyway, or is off")


# -- the rest --


def _tokenizer(case: Case) -> None:
    template = case.read("chat_template_path", text)
    if template is not None:
        local = case.local(template)
        if local is None:
            case.block(
                "chat_template_path", f"`{template}` is no file here; another model's template is not taken", HELP
            )
        else:
            case.put("tokenizer", {"kind": "reuse", "chat_template": local})
            case.map("chat_template_path", TEMPLATE)
    for key in ("eos_token", "pad_token"):
        if case.has(key):
            special_token(case, (key,), key, case.get(key))


def _default(case: Case, field: str) -> Any:
    return facts.trainer_fields(method_named(case.recipe["method"]["kind"]).config)[field].default


def _numbers(case: Case) -> None:
    rate(case, _default(case, "learning_rate"))
    default_logging(case, _default(case, "logging_steps"))
    if "max_length" in case.data or "max_length" in facts.trainer_fields(
        method_named(case.recipe["method"]["kind"]).config
    ):
        length(case, "max_length", 1024)
        return
    longest = case.recipe["method"].get("max_completion_length", 512)
    because = "TRL does not cut prompts: room for answers and as much again"
    case.imply("training.max_length", 2 * longest, because)


def _environment(case: Case, path: Path, value: Any) -> None:
    case.drop(path, "variables are set where the recipe is run")
    case.differ(path, "variables of the environment are not set by a recipe", "export them before `llmrecipe run`")


def _each(keys: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(keys.split(), rule)


RULES: dict[str, Rule] = {
    **ARGUMENTS,
    "env": _environment,
    "trust_remote_code": to("model.trust_remote_code", boolean),
    **_each("shuffle_dataset", drop("rows are always mixed")),
    "truncation_mode": only(
        "keep_start",
        "longer rows are cut at their end, here too",
        "rows cut at their beginning have no equal here",
        "prepare shorter rows",
    ),
    **_each(
        "pad_to_multiple_of dataset_kwargs ignore_bias_buffers log_completions num_completions_to_print "
        "log_unique_prompts log_multimodal log_completions_hub_repo vllm_server_timeout vllm_group_port "
        "use_transformers_paged use_transformers_continuous_batching ds3_gather_for_generation "
        "precompute_ref_batch_size",
        drop("it changes how fast a run is, or what it prints, not what it makes"),
    ),
    **_each(
        "mixed_precision main_process_port machine_rank main_process_ip gpu_ids config_file",
        drop("it is about the launcher, which follows from `distributed` and `training.precision`"),
    ),
}

TRL = Tool(
    name="trl",
    title="TRL",
    signs={
        "model_name_or_path": 1,
        "dataset_name": 3,
        "use_peft": 3,
        "attn_implementation": 1,
        "dataset_train_split": 3,
        "dataset_config": 2,
        "per_device_train_batch_size": 1,
        "max_length": 1,
        "num_generations": 2,
        "datasets": 1,
        "reward_funcs": 2,
        "model_revision": 1,
        "assistant_only_loss": 2,
        "load_in_4bit": 1,
        "dtype": 1,
        "teacher_model_name_or_path": 3,
        "packing_strategy": 2,
    },
    steps=(
        Step(LAUNCH_KEYS, _devices),
        Step(MODEL_KEYS, _model),
        Step(("output_dir",), name),
        Step(ADAPTER_KEYS, _adapter),
        Step(("chat_template_path", "eos_token", "pad_token"), _tokenizer),
        Step(METHOD_KEYS, method),
        Step(DATA_KEYS, data),
        Step(("num_train_epochs", "max_steps"), lambda case: amount(case, "num_train_epochs", 3.0)),
        Step(
            ("per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size"),
            lambda case: batch(case, HUGGING_FACE),
        ),
        Step(("learning_rate", "max_length"), _numbers),
        Step(("optim", *ADAM_KEYS), lambda case: optimizer(case, HUGGING_FACE)),
        Step(("lr_scheduler_type", *SCHEDULE_KEYS), lambda case: schedule(case, HUGGING_FACE)),
        Step(("bf16", "fp16"), lambda case: precision(case, True)),
        Step(EVALUATION_KEYS, lambda case: evaluation(case, "validation" in case.recipe["data"])),
        Step(SAVING_KEYS, lambda case: checkpoints(case, None)),
        Step(SPREAD_KEYS, _spread),
    ),
    rules=RULES,
    trainer_fields=True,
)
