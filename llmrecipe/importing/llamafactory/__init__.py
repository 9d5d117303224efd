"""LLaMA-Factory: what of a configuration means something together, and keys that mean something alone."""

from typing import Any

from llmrecipe.importing.case import Case, Rule, Step, Tool
from llmrecipe.importing.huggingface import RULES as ARGUMENTS
from llmrecipe.importing.huggingface import default_logging, gradient_checkpointing
from llmrecipe.importing.llamafactory.data import DATA_KEYS, data, template
from llmrecipe.importing.llamafactory.method import ADAPTER_KEYS, METHOD_KEYS, adapter, method
from llmrecipe.importing.spreading import SPREAD_KEYS, spread
from llmrecipe.importing.surroundings import attention, attention_untold, base, hardware, name, weights
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
from llmrecipe.importing.values import belongs, boolean, drop, never, off, only, positive, to
from llmrecipe.source import Path

_SPEED = "a way to be fast; the numbers are the same, and the run has its own"
_MEGATRON = "use `distributed: {kind: fsdp}`"
_OPTIMIZER = "use `training.optimizer` with 8 bits, or an adapter"
_NO = "remove it, or keep the tool for this run"
_PICTURES = "llmrecipe reads text; train such a model with the tool itself"


def _devices(case: Case) -> None:
    workers = case.read("ray_num_workers", positive)
    hardware(case, workers, bool(case.read("use_cpu", boolean)), case.get("flash_attn") == "fa3")
    case.map("ray_num_workers", "hardware.num_accelerators")
    case.map("use_cpu", "hardware.accelerator")


def _model(case: Case) -> None:
    base(case, "model_name_or_path")
    if case.has("flash_attn"):
        attention(case, "flash_attn", case.get("flash_attn"))
    attention_untold(case)
    _recomputed(case)
    default_logging(case, 500)


def _recomputed(case: Case) -> None:
    """Recomputation is on unless it is switched off."""
    key = "disable_gradient_checkpointing"
    if case.has(key):
        case.map(key, "training.gradient_checkpointing", not case.read(key, boolean))
        case.drop("gradient_checkpointing", f"`{key}` goes before it")
    else:
        gradient_checkpointing(case, ("gradient_checkpointing",), True)


def _precision(case: Case) -> None:
    if case.read("pure_bf16", boolean):
        case.map("pure_bf16", "model.dtype", "bfloat16", "the weights themselves, too")
        case.put("training.precision", "bfloat16")
        for key in ("bf16", "fp16"):
            case.map(key, "training.precision", None, "`pure_bf16` goes before it")
        return
    case.drop("pure_bf16", "it is off")
    precision(case, False)
    weights(case, "bf16", adapted=True)


def _other_optimizer(case: Case) -> None:
    """Optimizers that have switches of their own."""
    if case.read("use_muon", boolean):
        case.map("use_muon", "training.optimizer.kind", "muon")
        case.differ("use_muon", "this Muon scales its steps to those of AdamW", "watch the loss, or lower the rate")
        case.drop("optim", "`use_muon` goes before it")
        for key in ADAM_KEYS:
            case.drop(key, "the AdamW part of Muon has its own")
        return
    case.drop("use_muon", "it is off")
    optimizer(case, HUGGING_FACE)


def _schedule(case: Case) -> None:
    schedule(case, HUGGING_FACE)


def _streaming(case: Case, path: Path, value: Any) -> None:
    case.drop(path, "rows are prepared once, on disk, before the training")


def _export_alone(case: Case) -> None:
    """A file that only exports or answers has nothing to train."""
    if case.has("dataset") or case.has("stage") or not (case.has("export_dir") or case.has("infer_backend")):
        return
    for section in ("data", "method", "training"):
        case.recipe.pop(section, None)
    case.recipe["model"].pop("adapter", None)
    case.lacking.clear()
    case.implied[:] = [one for one in case.implied if one.path != "name" and case.written(one.path) is not None]
    name(case, "export_dir")


def _each(keys: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(keys.split(), rule)


RULES: dict[str, Rule] = {
    **ARGUMENTS,
    "model_revision": to("model.revision", str),
    "trust_remote_code": to("model.trust_remote_code", boolean),
    **_each(
        "overwrite_cache preprocessing_num_workers preprocessing_batch_size tokenized_path buffer_size cache_dir "
        "data_shared_file_system",
        drop("what was prepared is kept by its content in `.llmrecipe`"),
    ),
    **_each("streaming", _streaming),
    "plot_loss": drop("`llmrecipe report` draws the loss"),
    **_each("ignore_pad_token_for_loss", drop("padding is never learned from")),
    **_each(
        "use_fast_tokenizer split_special_tokens low_cpu_mem_usage upcast_layernorm upcast_lmhead_output use_cache "
        "offload_folder print_param_status",
        drop("how the model is read is decided by the run"),
    ),
    **_each("use_reentrant_gc", drop("recomputation is never reentrant here, and gives the same numbers")),
    **_each(
        "resize_vocab add_tokens add_special_tokens new_special_tokens_config",
        off("the vocabulary of the model is never changed", _NO),
    ),
    **_each("use_unsloth use_unsloth_gc shift_attn use_v1_kernels", drop(_SPEED)),
    **_each(
        "image_max_pixels image_min_pixels image_do_pan_and_scan crop_to_patches video_max_pixels video_min_pixels "
        "video_fps video_maxlen media_dir use_audio_in_video audio_sampling_rate",
        drop("rows hold text: columns of pictures and sounds are not read"),
    ),
    **_each(
        "freeze_vision_tower freeze_multi_modal_projector",
        only(True, "what sees is not trained, as without it there", "models that see are not trained here", _PICTURES),
    ),
    "freeze_language_model": only(False, "what reads is trained", "models that see are not trained here", _PICTURES),
    **_each(
        "adapter_name_or_path create_new_adapter",
        off("an adapter that is trained further has no equal here", "merge it and train the merged model"),
    ),
    # -- export and inference: another file there, the same recipe here --
    "export_dir": drop("the exported model is runs/NAME/model"),
    "export_size": drop("`export.formats` has `max_shard_size`, 5GB without being told, as here"),
    **_each("export_device export_legacy_format export_hf_on_finish", drop("weights are written as safetensors")),
    **_each(
        "export_quantization_bit export_hub_model_id",
        off("this export has no equal here", "export the model, then convert it"),
    ),
    **_each(
        "export_quantization_dataset export_quantization_nsamples export_quantization_maxlen",
        drop("it belongs to `export_quantization_bit`"),
    ),
    "infer_backend": drop("`serving` says what answers"),
    **_each(
        "do_sample num_beams repetition_penalty length_penalty max_length skip_special_tokens eval_num_beams "
        "generation_max_length generation_num_beams",
        drop("it is about answers, which `serving` and clients decide"),
    ),
    "vllm_maxlen": drop("`serving.max_model_len` says it, where a model is served"),
    # -- ways of training --
    **_each(
        "oft_block_size oft_rank oft_target module_dropout",
        belongs("finetuning_type", ("oft",), never("this way of adapting has no equal here", _NO)),
    ),
    **_each(
        "freeze_trainable_layers freeze_trainable_modules freeze_extra_modules",
        belongs("finetuning_type", ("freeze",), never("this way of adapting has no equal here", _NO)),
    ),
    **_each("use_llama_pro mixture_of_depths", off("this way of adapting has no equal here", _NO)),
    **_each(
        "use_galore use_apollo use_badam use_adam_mini optim_target_modules",
        off("this optimizer has no equal here", _OPTIMIZER),
    ),
    **_each(
        "galore_layerwise galore_rank galore_scale galore_target galore_update_interval galore_proj_type",
        belongs("use_galore", (True,), never("this optimizer has no equal here", _OPTIMIZER)),
    ),
    **_each(
        "apollo_layerwise apollo_rank apollo_scale apollo_scale_type apollo_target apollo_proj apollo_proj_type "
        "apollo_update_interval apollo_scale_front",
        belongs("use_apollo", (True,), never("this optimizer has no equal here", _OPTIMIZER)),
    ),
    **_each(
        "badam_mode badam_start_block badam_switch_interval badam_switch_mode badam_verbose badam_update_ratio "
        "badam_mask_mode",
        belongs("use_badam", (True,), never("this optimizer has no equal here", _OPTIMIZER)),
    ),
    **_each(
        "use_asft_loss asft_alpha use_eaft_loss eaft_alpha pref_bco_weight compute_accuracy",
        off("this loss has no equal here", _NO),
    ),
    "fp8": off("arithmetic in 8 bits has no equal here", "use `bfloat16`"),
    **_each(
        "fp8_backend fp8_enable_fsdp_float8_all_gather",
        belongs("fp8", (True,), never("arithmetic in 8 bits has no equal here", "use `bfloat16`")),
    ),
    "mixed_precision": drop("`bf16` says it"),
    "use_kt": off("experts on processors have no equal here", _NO),
    **_each(
        "kt_config kt_cpu_activation kt_weight_path kt_non_expert_weight_path kt_optimize_rule",
        belongs("use_kt", (True,), never("experts on processors have no equal here", _NO)),
    ),
    **_each(
        "pipeline_model_parallel_size tensor_model_parallel_size expert_model_parallel_size context_parallel_size",
        only(1, "1 splits nothing", "this way of splitting a model has no equal here", _MEGATRON),
    ),
    "sequence_parallel": off("this way of splitting a model has no equal here", _MEGATRON),
    **_each(
        "use_distributed_optimizer apply_rope_fusion bias_activation_fusion overlap_grad_reduce "
        "overlap_param_gather moe_grouped_gemm moe_token_dispatcher_type recompute_granularity "
        "use_packed_sequences",
        drop(_SPEED),
    ),
    **_each(
        "use_swanlab swanlab_project swanlab_workspace swanlab_run_name swanlab_mode swanlab_api_key swanlab_logdir",
        off("this tracker has no equal here", "use tensorboard, mlflow, wandb or trackio"),
    ),
    **_each(
        "tool_format enable_thinking default_system reasoning_effort",
        drop("the template that the tokenizer brings decides it"),
    ),
    "fsdp_transformer_layer_cls_to_wrap": drop("the layers that the model names itself are sharded one by one"),
    **_each(
        "ray_run_name ray_storage_path resources_per_worker placement_strategy", drop("the launcher is Accelerate")
    ),
    **_each("hf_hub_token ms_hub_token om_hub_token", never("a secret in a file", "take it out; `HF_TOKEN` is read")),
}

LLAMAFACTORY = Tool(
    name="llamafactory",
    title="LLaMA-Factory",
    signs={
        "finetuning_type": 4,
        "cutoff_len": 3,
        "stage": 3,
        "template": 2,
        "dataset": 2,
        "lora_rank": 2,
        "dataset_dir": 2,
        "lora_target": 2,
        "model_name_or_path": 1,
        "overwrite_cache": 2,
        "plot_loss": 2,
        "pref_beta": 2,
        "quantization_bit": 2,
        "max_samples": 1,
        "per_device_train_batch_size": 1,
    },
    steps=(
        Step(("ray_num_workers", "use_cpu"), _devices),
        Step(("model_name_or_path", "flash_attn", "disable_gradient_checkpointing", "gradient_checkpointing"), _model),
        Step(("output_dir",), name),
        Step(ADAPTER_KEYS, adapter),
        Step(DATA_KEYS, data),
        Step(("template",), template),
        Step(METHOD_KEYS, method),
        Step(("num_train_epochs", "max_steps"), lambda case: amount(case, "num_train_epochs", 3.0)),
        Step(
            ("per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size"),
            lambda case: batch(case, HUGGING_FACE),
        ),
        Step(("cutoff_len",), lambda case: length(case, "cutoff_len", 2048)),
        Step(("learning_rate",), lambda case: rate(case, 5e-5)),
        Step(("optim", "use_muon", *ADAM_KEYS), _other_optimizer),
        Step(("lr_scheduler_type", *SCHEDULE_KEYS), _schedule),
        Step(("bf16", "fp16", "pure_bf16"), _precision),
        Step(EVALUATION_KEYS, lambda case: evaluation(case, "validation" in case.recipe["data"])),
        Step(SAVING_KEYS, lambda case: checkpoints(case, None)),
        Step(SPREAD_KEYS, spread),
        Step(("export_dir",), _export_alone),
    ),
    rules=RULES,
    twice="its reader refuses a key that is written twice",
    trainer_fields=True,
)
