"""Axolotl: keys that mean something alone, one line each. This is the place to add one."""

from typing import Any

from llmrecipe.importing.case import Case, Rule
from llmrecipe.importing.training import MOVES_NOTHING
from llmrecipe.importing.values import (
    boolean,
    decimal,
    drop,
    never,
    number,
    off,
    one_of,
    only,
    to,
    whole,
)
from llmrecipe.source import Path

_KERNEL = "a kernel for speed; the numbers are the same, and the run has its own"
_FUSED = "the loss is always computed in tiles here, without all logits at once"
_FOUND = "it is found by the configuration of the model"
_PICTURES = "llmrecipe reads text; train such a model with the tool itself"
_CACHE = "what was prepared is kept by its content in `.llmrecipe`"
_PADS = "batches are padded to their longest row, or packed"
_UPLOAD = "run `hf upload` with the exported folder"
_NO = "remove it, or keep the tool for this run"


def _checkpointing(case: Case, path: Path, value: Any) -> None:
    if value in ("offload", "offload_disk"):
        case.map(path, "training.gradient_checkpointing", {"offload": True}, "kept in host memory")
    else:
        to("training.gradient_checkpointing", boolean)(case, path, value)


def _offloading(case: Case, path: Path, value: Any) -> None:
    if value in (True, "legacy", "disk"):
        case.put("training.gradient_checkpointing", {"offload": True})
        case.map(path, "training.gradient_checkpointing", None, "what is not recomputed is kept in host memory")
    else:
        case.drop(path, "it is off")


def _model_class(case: Case, path: Path, value: Any) -> None:
    if isinstance(value, str) and (value.startswith("AutoModelFor") or value.endswith("ForCausalLM")):
        case.drop(path, _FOUND)
    else:
        case.block(path, f"a model of the class `{value}` is not trained here", _PICTURES)


def _plugins(case: Case, path: Path, value: Any) -> None:
    for index, plugin in enumerate(value if isinstance(value, list) else [value]):
        at = (*path, index) if isinstance(value, list) else path
        if "CutCrossEntropy" in str(plugin):
            case.drop(at, _FUSED)
        elif "Liger" in str(plugin):
            case.map(at, "training.kernels", None, "where one of its kernels is on")
        elif "KernelsPlugin" in str(plugin):
            case.drop(at, _KERNEL)
        else:
            case.block(at, f"the plugin `{plugin}` cannot be loaded: it is code", _NO)


def _liger(case: Case, path: Path, value: Any) -> None:
    if case.read(path, boolean):
        case.map(path, "training.kernels", "liger")
    else:
        case.drop(path, "it is off")


def _tf32(case: Case, path: Path, value: Any) -> None:
    if value == "auto":
        case.drop(path, "as PyTorch does, which is what happens without it here")
    else:
        to("training.tf32", boolean)(case, path, value)


def _watchdog(case: Case, path: Path, value: Any) -> None:
    case.map(path, "training.watchdog", None, "a loss that runs away stops the training without being told")


def _packed_length(case: Case, path: Path, value: Any) -> None:
    if case.has("sequence_len") and case.get("sequence_len") == value:
        case.drop(path, "`sequence_len` says it")
    else:
        case.block(
            path, "the length of packed rows is gone from Axolotl", "write `data.packing` and `training.max_length`"
        )


def _compile(case: Case, path: Path, value: Any) -> None:
    if value == "auto":
        case.drop(path, "the run compiles only when told")
    else:
        to("training.torch_compile", boolean)(case, path, value)


def _logging(case: Case, path: Path, value: Any) -> None:
    steps = case.read(path, number)
    if steps is not None and steps >= 1:
        case.map(path, "training.logging_steps", int(steps))
    elif steps is not None:
        case.drop(path, "a share of all steps; a line is logged every 10 steps")


def _epsilon(case: Case, path: Path, value: Any) -> None:
    to("training.optimizer.epsilon", decimal)(case, path, value)


def _flat(case: Case, path: Path, value: Any) -> None:
    because = "the type of the weights follows from what is trained" if value else "it is off"
    if path[-1] in ("bfloat16", "float16") and value is True and "bf16" not in case.data and "fp16" not in case.data:
        case.map(path, "model.dtype", path[-1], "pure half precision")
    else:
        case.drop(path, because)


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    # -- model --
    "base_model_config": drop(_FOUND),
    "cls_model_config": drop(_FOUND),
    "model_type": _model_class,
    "revision_of_model": to("model.revision", str),
    "trust_remote_code": to("model.trust_remote_code", boolean),
    **_each(
        "tokenizer_type tokenizer_use_fast is_llama_derived_model is_mistral_derived_model is_qwen_derived_model "
        "is_falcon_derived_model",
        drop(_FOUND),
    ),
    "tokenizer_config": never("a tokenizer of another model has no equal here", "put it into the folder of the model"),
    **_each(
        "tokenizer_legacy tokenizer_use_mistral_common",
        off("another reading of the tokenizer has no equal here", "the tokenizer is used as the model brings it"),
    ),
    **_each(
        "processor_type freeze_mm_modules image_size image_resize_algorithm",
        never("models that see or hear are not trained here", _PICTURES),
    ),
    "torch_dtype": one_of("model.dtype", {each: each for each in ("bfloat16", "float16", "float32", "auto")}, _NO),
    **_each("bfloat16 float16 float32", _flat),
    **_each(
        "low_cpu_mem_usage torchdistx_path device_map max_memory gpu_memory_limit local_rank world_size device "
        "base_model_ignore_patterns experimental_skip_move_to_device",
        drop("where weights are put when they are loaded is decided by the run"),
    ),
    "model_config": only(
        (), "", "settings of the model's own configuration have no equal here", "edit its config.json"
    ),
    **_each(
        "overrides_of_model_config overrides_of_model_kwargs",
        never("settings of the model's own configuration have no equal here", "edit its config.json"),
    ),
    "reinit_weights": off("weights that begin anew are a model from scratch here", "write `model.base.architecture`"),
    **_each(
        "shrink_embeddings mean_resizing_embeddings",
        off("the vocabulary of the model is never changed", "remove it: no token is added either"),
    ),
    "resize_token_embeddings_to_32x": drop("rows that no token has; the vocabulary stays as it is"),
    "embeddings_skip_upcast": drop("embeddings keep the type of the other weights"),
    "fix_untrained_tokens": off("untrained tokens have no equal here", "use `model.adapter.trainable_token_indices`"),
    **_each(
        "model_quantization_config model_quantization_config_kwargs",
        never("weights that are published quantized are not trained", "begin from the 16-bit weights, with `nf4`"),
    ),
    **_each(
        "gptq gptq_groupsize gptq_model_v1 gptq_disable_exllama",
        off("weights that are quantized already are not trained", "begin from the 16-bit weights, with `nf4`"),
    ),
    **_each(
        "lora_model_dir",
        never("an adapter that is trained further has no equal here", "merge it and train the merged model"),
    ),
    **_each(
        "peft peft_layers_pattern peft_layer_replication relora relora_prune_ratio relora_prune_method "
        "relora_cpu_offload jagged_restart_steps jagged_restart_warmup_steps jagged_restart_anneal_steps "
        "lisa_n_layers lisa_step_interval lisa_layers_attribute",
        off("this way of adapting has no equal here", _NO),
    ),
    **_each(
        "unfrozen_parameters",
        off("single weights that are trained have no equal here", "use `model.adapter`, with `modules_to_save`"),
    ),
    **_each(
        "peft_autocast_adapter_dtype lora_on_cpu merge_lora merge_method",
        drop("the adapter is kept in float32, and merged after the training"),
    ),
    **_each(
        "quantize_moe_experts qlora_sharded_model_loading nvfp4_merge_aware",
        off("quantized experts have no equal here", _NO),
    ),
    "full_finetune": drop("without an adapter every weight is trained"),
    # -- speed --
    **_each(
        "lora_mlp_kernel lora_qkv_kernel lora_o_kernel lora_embedding_kernel flash_attn_cross_entropy "
        "flash_attn_rms_norm flash_attn_fuse_mlp flash_attn_fuse_qkv flash_optimum fused_attn_kernel use_kernels "
        "use_scattermoe use_sonicmoe use_dsv4_kernels use_glm_dsa_kernels dsv4_fp4_grouped_mode tiled_mlp "
        "experts_implementation llama4_linearized_experts flex_attn_compile_kwargs large_head_attention "
        "gemma4_hybrid_attn_impl unsloth_cross_entropy_loss unsloth_lora_mlp unsloth_lora_qkv unsloth_lora_o "
        "unsloth_rms_norm unsloth_rope expert_parallel_num_nvl_bytes expert_parallel_token_capacity",
        drop(_KERNEL),
    ),
    **_each("liger_rope liger_rms_norm liger_glu_activation liger_layer_norm liger_rms_norm_gated", _liger),
    **_each(
        "liger_fused_linear_cross_entropy liger_cross_entropy cut_cross_entropy chunked_cross_entropy "
        "liger_use_token_scaling",
        drop(_FUSED),
    ),
    "plugins": _plugins,
    "tf32": _tf32,
    "torch_compile": _compile,
    **_each("torch_compile_backend torch_compile_mode", drop("PyTorch's own choice is taken")),
    "gradient_checkpointing": _checkpointing,
    "gradient_checkpointing_kwargs": drop("recomputation is never reentrant here, and gives the same numbers"),
    "activation_offloading": _offloading,
    **_each("fp8 fp8_enable_fsdp_float8_all_gather", off("arithmetic in 8 bits has no equal here", "use `bfloat16`")),
    **_each(
        "qat quantization llmcompressor use_onebitllms",
        never("quantization that is trained has no equal here", "quantize the exported model"),
    ),
    # -- data --
    **_each("dataset_prepared_path dataset_processes dataset_num_proc dataset_keep_in_memory", drop(_CACHE)),
    "push_dataset_to_hub": never("prepared data are not uploaded", _UPLOAD),
    "skip_prepare_dataset": off("rows that are prepared while training are those of pictures", _PICTURES),
    "remove_unused_columns": drop("columns that are not needed are always left out"),
    **_each(
        "shuffle_merged_datasets shuffle_before_merging_datasets",
        only(
            True, "rows are always mixed", "rows in the order of the data have no equal here", "use `data.curriculum`"
        ),
    ),
    "curriculum_sampling": off("the order of the data is no curriculum here", "use `data.curriculum: {kind: column}`"),
    **_each("pad_to_sequence_len pad_to_multiple_of", drop(_PADS)),
    "max_packed_sequence_len": _packed_length,
    **_each(
        "sample_packing_group_size sample_packing_bin_size sample_packing_eff_est sample_packing_seq_len_multiplier "
        "sample_packing_sequentially multipack_real_batches pretrain_multipack_buffer_size pretrain_multipack_attn "
        "streaming_multipack_buffer_size batch_flattening sample_packing_mp_start_method total_num_tokens "
        "total_supervised_tokens",
        drop("rows are packed over all data, best fit first, and never see each other"),
    ),
    "streaming": drop("rows are prepared once, on disk, before the training"),
    "min_sample_len": only(
        (0, 1),
        "no row is shorter",
        "rows shorter than so many tokens cannot be left out",
        "use `data.prepare: [{kind: filter, min_words: ...}]`",
    ),
    "excess_length_strategy": only(
        "truncate",
        "longer rows are cut here",
        "longer rows are cut here, not dropped",
        "filter them: `data.prepare: [{kind: filter, max_words: ...}]`",
    ),
    "max_prompt_len": drop("prompts may have what `max_length` leaves them"),
    "default_system_message": never(
        "a system turn for all rows has no equal here", "write it into the rows or the template"
    ),
    **_each("dataset_shard_num dataset_shard_idx", never("a part of a dataset has no equal here", "use `max_samples`")),
    **_each("dataloader_num_workers", to("training.dataloader_num_workers", whole)),
    **_each("dataloader_prefetch_factor dataloader_drop_last dataloader_pin_memory", drop(MOVES_NOTHING)),
    "group_by_length": to("training.group_by_length", boolean),
    # -- training --
    "seed": to("training.seed", whole),
    "weight_decay": to("training.weight_decay", decimal),
    "max_grad_norm": to("training.max_grad_norm", decimal),
    "neftune_noise_alpha": to("training.neftune_noise_alpha", decimal),
    "noisy_embedding_alpha": to("training.neftune_noise_alpha", decimal),
    "label_smoothing_factor": to("training.label_smoothing", decimal),
    "logging_steps": _logging,
    "adam_eps": _epsilon,
    **_each(
        "embedding_lr embedding_lr_scale lr_groups lr_div_factor lr_quadratic_warmup optim_target_modules "
        "optim_args adam_beta3 adam_epsilon2 cosine_constant_lr_ratio",
        off("learning rates of parts have no equal here", _NO),
    ),
    **_each("loss_watchdog_threshold loss_watchdog_patience", _watchdog),
    **_each(
        "use_eaft eaft_alpha eaft_k diffusion ebft use_pose pose_split_on_token_ids pose_max_context_len "
        "pose_num_chunks process_reward_model",
        off("this way of training has no equal here", _NO),
    ),
    **_each(
        "auto_find_batch_size",
        off("a batch that is found by trying has no equal here", "`llmrecipe plan` says what fits"),
    ),
    **_each(
        "gc_steps profiler_steps include_tokens_per_second include_tkps ddp_timeout ddp_bucket_cap_mb "
        "ddp_broadcast_buffers ddp_find_unused_parameters accelerator_config average_tokens_across_devices "
        "torch_empty_cache_steps use_otel_metrics otel_metrics_host otel_metrics_port",
        drop(MOVES_NOTHING),
    ),
    # -- evaluation and saving --
    **_each(
        "eval_table_size eval_max_new_tokens do_causal_lm_eval eval_causal_lm_metrics do_bench_eval bench_dataset "
        "bench_split",
        off("answers are judged by suites here", "write `evaluation.suites`"),
    ),
    "eval_on_start": drop("it measures before the first step, and changes nothing"),
    "fsdp_final_state_dict_type": drop("the trained model is always written whole"),
    **_each("save_safetensors save_first_step", drop("weights are always written as safetensors")),
    "save_only_model": drop("checkpoints hold everything a run resumes from; they are gone when it ends"),
    **_each("resume_from_checkpoint auto_resume_from_checkpoints", drop("`llmrecipe run` resumes by itself")),
    **_each(
        "hub_model_id hub_strategy hub_private_repo hub_revision push_to_hub", off("a run uploads nothing", _UPLOAD)
    ),
    "hf_use_auth_token": drop("the token of the environment is taken"),
    # -- devices --
    **_each("ddp", drop("it follows from `distributed`")),
    **_each(
        "use_ray ray_num_workers ray_run_name resources_per_worker",
        drop("the launcher is Accelerate; how many devices there are is said by `hardware`"),
    ),
    # -- the tool itself --
    **_each(
        "strict debug test_value is_preprocess is_file axolotl_config_path chat_template_mode",
        drop("it is about the tool, and not about the training"),
    ),
    **_each(
        "use_swanlab swanlab_project swanlab_experiment_name swanlab_description swanlab_mode swanlab_workspace "
        "swanlab_log_model swanlab_log_completions swanlab_completion_log_interval swanlab_completion_max_buffer "
        "use_comet comet_api_key comet_workspace comet_project_name comet_mode comet_online",
        off("this tracker has no equal here", "use tensorboard, mlflow, wandb or trackio"),
    ),
}
