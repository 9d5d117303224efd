"""Names that other tools use for what a recipe says, and where a recipe says it."""

KEYS: dict[str, str] = {
    **dict.fromkeys(
        ("batch_size", "micro_batch_size", "train_batch_size", "per_device_batch_size", "device_batch_size"),
        "training.per_device_train_batch_size",
    ),
    **dict.fromkeys(("eval_batch_size", "val_batch_size"), "training.per_device_eval_batch_size"),
    **dict.fromkeys(("lr", "learning-rate", "peak_lr", "max_lr"), "training.learning_rate"),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs", "max_epochs", "train_epochs"), "training.num_train_epochs"),
    **dict.fromkeys(("steps", "num_steps", "max_train_steps", "total_steps", "num_train_steps"), "training.max_steps"),
    **dict.fromkeys(
        (
            "max_seq_length",
            "max_seq_len",
            "max_sequence_length",
            "seq_length",
            "seq_len",
            "sequence_len",
            "sequence_length",
            "cutoff_len",
            "block_size",
            "context_length",
            "model_max_length",
        ),
        "training.max_length",
    ),
    **dict.fromkeys(("warmup", "warmup_fraction", "warmup_proportion"), "training.schedule.warmup_ratio"),
    "num_warmup_steps": "training.schedule.warmup_steps",
    **dict.fromkeys(
        ("lr_scheduler_type", "lr_scheduler", "scheduler", "lr_schedule", "scheduler_type"), "training.schedule"
    ),
    **dict.fromkeys(("min_lr", "min_lr_rate", "cosine_min_lr_ratio"), "training.schedule.min_lr_ratio"),
    **dict.fromkeys(
        ("gradient_accumulation_steps", "grad_accum", "grad_accum_steps", "accumulate_grad_batches"),
        "it is derived: write `training.global_batch_size`, the sequences of one optimizer step over all processes",
    ),
    **dict.fromkeys(("total_batch_size", "effective_batch_size"), "training.global_batch_size"),
    **dict.fromkeys(("torch_dtype", "model_dtype", "weights_dtype"), "model.dtype"),
    **dict.fromkeys(
        ("bf16", "fp16", "fp32", "mixed_precision", "bfloat16", "amp"),
        "write `training.precision`: `float32`, `bfloat16` or `float16`",
    ),
    **dict.fromkeys(
        ("attn_implementation", "flash_attn", "flash_attention", "use_flash_attention_2", "attention_implementation"),
        "model.attention",
    ),
    **dict.fromkeys(
        ("eval_strategy", "evaluation_strategy", "do_eval", "val_check_interval", "evals_per_epoch"),
        "write `training.eval_steps`, the optimizer steps between validations; without it there is one at the end",
    ),
    **dict.fromkeys(
        ("save_strategy", "checkpointing_steps", "saves_per_epoch", "save_every"),
        "write `training.checkpoints.save_steps`, the optimizer steps between checkpoints",
    ),
    **dict.fromkeys(("optim", "optimizer_type"), "training.optimizer"),
    **dict.fromkeys(("adam_beta1", "betas"), "training.optimizer.beta1"),
    "adam_beta2": "training.optimizer.beta2",
    **dict.fromkeys(("adam_epsilon", "eps", "adam_eps"), "training.optimizer.epsilon"),
    "optim_args": "training.optimizer",
    "label_smoothing_factor": "training.label_smoothing",
    **dict.fromkeys(("neftune_alpha", "noise_alpha"), "training.neftune_noise_alpha"),
    **dict.fromkeys(("load_best_model_at_end", "metric_for_best_model"), "training.checkpoints.best"),
    "early_stopping_patience": "training.early_stopping.patience",
    **dict.fromkeys(("ema_decay", "use_ema"), "training.averaging"),
    **dict.fromkeys(
        ("grad_clip", "clip_grad_norm", "gradient_clipping", "gradient_clip_val"), "training.max_grad_norm"
    ),
    **dict.fromkeys(("activation_checkpointing", "use_gradient_checkpointing"), "training.gradient_checkpointing"),
    **dict.fromkeys(("num_workers", "preprocessing_num_workers"), "training.dataloader_num_workers"),
    **dict.fromkeys(("random_seed", "manual_seed", "data_seed"), "training.seed"),
    "log_interval": "training.logging_steps",
    **dict.fromkeys(
        ("model_name_or_path", "base_model", "model_name", "model_id", "name_or_path", "pretrained", "repo_id"),
        "model.base",
    ),
    **dict.fromkeys(("lora_r", "lora_rank", "rank"), "model.adapter.r"),
    **dict.fromkeys(("lora_target", "lora_target_modules", "lora_target_linear"), "model.adapter.target_modules"),
    **dict.fromkeys(("alpha", "lora_scaling"), "model.adapter.lora_alpha"),
    "dropout": "model.adapter.lora_dropout",
    "lora_modules_to_save": "model.adapter.modules_to_save",
    **dict.fromkeys(("peft", "peft_config", "lora", "finetuning_type", "use_peft"), "model.adapter"),
    **dict.fromkeys(
        ("load_in_4bit", "load_in_8bit", "quantization", "quantization_bit", "bnb_4bit_quant_type"),
        "write `model.quantization: {kind: nf4}` or `{kind: int8}`",
    ),
    **dict.fromkeys(
        ("dataset_name", "datasets", "train_file", "train_files", "train_data", "train_dataset"),
        "data.train",
    ),
    **dict.fromkeys(("data_files", "file", "files", "path", "dataset_path"), "data.train[].paths"),
    **dict.fromkeys(("subset", "dataset_config", "config_name"), "data.train[].config"),
    **dict.fromkeys(("field", "fields", "text_column", "dataset_text_field", "column_mapping"), "data.train[].columns"),
    "limit": "data.train[].max_samples",
    **dict.fromkeys(
        ("val_set_size", "test_size", "validation_split", "eval_dataset", "val_data", "valid"), "data.validation"
    ),
    **dict.fromkeys(("sample_packing", "pack", "packing_strategy"), "data.packing"),
    **dict.fromkeys(("preprocess", "preprocessing", "processing"), "data.prepare"),
    **dict.fromkeys(
        ("output_dir", "logging_dir", "save_dir", "overwrite_output_dir"),
        "results lie in the store: `llmrecipe run --store DIR --runs DIR` says where",
    ),
    "type": "write `kind`",
    **dict.fromkeys(("stage", "task", "algorithm_name", "rl"), "method"),
    **dict.fromkeys(("template", "chat_template_path"), "tokenizer.chat_template"),
    **dict.fromkeys(("gpus", "num_gpus", "n_gpu", "num_processes", "nproc_per_node"), "hardware.num_accelerators"),
    **dict.fromkeys(("nodes", "nnodes", "num_machines"), "hardware.num_nodes"),
    **dict.fromkeys(("gpu", "device", "gpu_type", "accelerator_type"), "hardware.accelerator"),
    **dict.fromkeys(("deepspeed", "fsdp", "ddp", "fsdp_config", "parallelism"), "distributed"),
    **dict.fromkeys(("zero", "zero_optimization"), "distributed.zero_stage"),
    **dict.fromkeys(("offload_params", "fsdp_offload_params", "offload_policy"), "distributed.cpu_offload"),
    **dict.fromkeys(("offload_param", "offload_param_device"), "distributed.offload_parameters"),
    "offload_optimizer_device": "distributed.offload_optimizer",
    **dict.fromkeys(("reshard_after_forward", "sharding_strategy"), "distributed.sharding"),
    **dict.fromkeys(("transformer_layer_cls_to_wrap", "fsdp_transformer_layer_cls_to_wrap"), "distributed.wrap"),
    **dict.fromkeys(
        ("cp_size", "sequence_parallel_size", "sp_size", "context_parallel_degree"),
        "distributed.context_parallel_size",
    ),
    **dict.fromkeys(("tp", "tp_size", "tensor_parallel"), "serving.tensor_parallel_size"),
    **dict.fromkeys(("max_context_length", "context_window"), "serving.max_model_len"),
    **dict.fromkeys(("tags", "notes", "author", "comment", "title", "owner"), "free text belongs under `metadata`"),
    **dict.fromkeys(("metrics", "evals", "eval", "evaluate"), "evaluation.suites"),
    "engine": "write `serving: {kind: vllm}`",
}
"""Key elsewhere -> the path of ours, or a sentence."""

KINDS: dict[str, str] = {
    **dict.fromkeys(("pt", "clm", "causal_lm", "pretraining", "pre_train"), "pretrain"),
    **dict.fromkeys(("finetune", "fine_tune", "finetuning", "instruct", "supervised", "full_sft"), "sft"),
    **dict.fromkeys(("none", "all", "full_finetune"), "full"),
    **dict.fromkeys(("peft", "qlora"), "lora"),
    **dict.fromkeys(("adam", "adamw_torch", "adamw_torch_fused", "adamw_hf"), "adamw"),
    **dict.fromkeys(("cosine_with_min_lr", "cosine_annealing", "cosine_with_warmup"), "cosine"),
    **dict.fromkeys(("constant_with_warmup",), "constant"),
    **dict.fromkeys(("linear_with_warmup",), "linear"),
    **dict.fromkeys(("wsd",), "warmup_stable_decay"),
    **dict.fromkeys(("json", "jsonl", "csv", "parquet", "local", "file"), "files"),
    **dict.fromkeys(("hf", "huggingface", "dataset"), "hub"),
    **dict.fromkeys(("bpe", "new", "trained", "wordpiece", "unigram"), "train"),
    **dict.fromkeys(("pretrained", "existing", "base"), "reuse"),
    **dict.fromkeys(("dedup", "exact_dedup"), "deduplicate"),
    **dict.fromkeys(("multi_gpu", "data_parallel"), "ddp"),
    **dict.fromkeys(("fsdp2", "fully_sharded", "hsdp"), "fsdp"),
    **dict.fromkeys(("zero", "zero1", "zero2", "zero3"), "deepspeed"),
    **dict.fromkeys(("ppl",), "perplexity"),
}
"""Kind elsewhere -> kind of ours, where the section has it."""

VALUES: dict[str, str] = {
    **dict.fromkeys(("fp32", "float", "f32", "32"), "float32"),
    **dict.fromkeys(("fp16", "half", "f16", "16"), "float16"),
    **dict.fromkeys(("bf16",), "bfloat16"),
    **dict.fromkeys(("flash_attention", "flash", "fa2", "flash-attn"), "flash_attention_2"),
    "fa3": "flash_attention_3",
    **dict.fromkeys(("alpaca", "instruct"), "instruction"),
    **dict.fromkeys(("sharegpt",), "conversations"),
    **dict.fromkeys(("chat", "chatml", "openai", "conversational"), "messages"),
    **dict.fromkeys(("completion", "prompt-completion"), "prompt_completion"),
    **dict.fromkeys(("dpo", "preferences", "pairwise"), "preference"),
    **dict.fromkeys(("raw", "plain", "txt", "lm"), "text"),
    "true": "bfd",
    **dict.fromkeys(("qwen", "qwen2"), "qwen3"),
    **dict.fromkeys(("llama3", "llama2"), "llama"),
    **dict.fromkeys(("gemma", "gemma3"), "gemma3_text"),
}
"""Value elsewhere -> value of ours, where the key takes it."""

SAME = (
    *("fp32", "float", "f32", "fp16", "half", "f16", "bf16"),
    *("fa2", "flash_attn", "fa3", "prompt_completion", "sharegpt"),
)
"""Of these the ones that are nothing but another name."""
