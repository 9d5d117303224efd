"""Recipes with random options for tiny models that are there, so that each can be run: what rules refuse is left out.

An option is tried as a user would write it, without knowing what goes with what; it stays where no rule refuses it.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tiny import _tokenizer
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
)

Data = dict[str, Any]
Wish = tuple[tuple[str, ...], Any]
"""Where an option is written, and what."""

DECODERS = ("base", "untied", "llama", "gemma")
NEW = ("qwen3", "qwen3_moe", "llama", "mistral", "gemma3_text", "smollm3", "falcon", "gpt2")
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LEARNS_FROM = {
    "pretrain": ("text",),
    "mlm": ("text",),
    "sft": ("messages", "prompt_completion"),
    "reward": ("preference",),
    "dpo": ("preference", "preference_chat"),
    "kto": ("unpaired_preference",),
    "orpo": ("preference", "preference_chat"),
    "cpo": ("preference",),
    "distillation": ("messages", "prompt_completion"),
    "grpo": ("prompt", "prompt_chat"),
    "rloo": ("prompt", "prompt_chat"),
    "ppo": ("prompt", "prompt_chat"),
}
ANSWERS = {"num_generations": 4, "max_completion_length": 6}
REWARDS: list[Data] = [
    {"kind": "length", "target": 3},
    {"kind": "regex", "pattern": "o(.)"},
    {"kind": "json_schema", "json_schema": {"type": "object"}},
    {"kind": "python", "path": "rewards.py", "function": "score"},
]
FIXED: dict[str, Data] = {
    "distillation": {"teacher_model": "./teacher"},
    "grpo": ANSWERS | {"reward_functions": REWARDS[:1]},
    "rloo": ANSWERS | {"reward_functions": REWARDS[:2]},
    "ppo": {"max_completion_length": 6, "reward_functions": [REWARDS[0], REWARDS[3]]},
}
SAMPLING = {"temperature": [0.7], "top_p": [0.9], "top_k": [5]}
GROUPED = SAMPLING | {
    "beta": [0.0, 0.04], "num_iterations": [2], "steps_per_generation": [2], "mask_truncated_completions": [True],
    "sync_ref_model": [{"every_steps": 1}], "reward_model": ["./judge"],
}  # fmt: skip
REFERENCE = {"ref_model": ["./teacher"], "precompute_ref_log_probs": [True], "sync_ref_model": [{"every_steps": 1}]}
METHOD: dict[str, dict[str, list[Any]]] = {
    "pretrain": {},
    "mlm": {"mlm_probability": [0.3], "whole_word": [True], "mask_replace_prob": [1.0, 0.5]},
    "sft": {"assistant_only_loss": [True], "completion_only_loss": [False], "loss_type": ["dft"]},
    "reward": {"center_rewards_coefficient": [0.01]},
    "dpo": REFERENCE | {
        "beta": [0.3], "label_smoothing": [0.1], "ld_alpha": [0.5], "use_weighting": [True],
        "f_divergence_type": ["forward_kl", "js_divergence"],
        "loss_type": ["hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
                      "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"],
    },
    "kto": REFERENCE | {"beta": [0.2], "desirable_weight": [1.3], "loss_type": ["apo_zero_unpaired"]},
    "orpo": {"beta": [0.2]},
    "cpo": {"loss_type": ["hinge", "ipo", "simpo", "alphapo"], "cpo_alpha": [0.5], "simpo_gamma": [0.5]},
    "distillation": {"lmbda": [0, 1], "beta": [0.0, 1.0], "max_completion_length": [4], "temperature": [0.9]},
    "grpo": GROUPED | {
        "loss_type": ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo"], "epsilon_high": [0.28],
        "importance_sampling_level": ["sequence"], "scale_rewards": ["batch", "none"],
    },
    "rloo": GROUPED | {"normalize_advantages": [True], "reward_clip": [1.0]},
    "ppo": SAMPLING | {
        "value_backbone": ["separate"], "value_model": ["./judge"], "kl_estimator": ["k2", "k3"], "gamma": [0.9],
        "kl_control": [{"kind": "adaptive"}], "num_mini_batches": [2], "entropy_coef": [0.01], "reward_clip": [1.0],
        "whiten_rewards": [True], "missing_eos_penalty": [1.0], "min_completion_length": [3],
        "local_rollout_forward_batch_size": [1], "reward_model": ["./judge"],
    },
}  # fmt: skip
MODEL: dict[str, list[Any]] = {
    "attention": ["eager", "flex_attention"],
    "dtype": ["bfloat16", "float32", "float16"],
    "quantization": [{"kind": "nf4"}, {"kind": "int8"}, {"kind": "nf4", "compute_dtype": "float32"}],
}
ADAPTER: dict[str, list[Any]] = {
    "lora_dropout": [0.1], "target_modules": [["q_proj", "v_proj"]], "exclude_modules": [["o_proj"]],
    "layers_to_transform": [[0]], "rank_pattern": [{"q_proj": 2}], "modules_to_save": [["lm_head"], ["embed_tokens"]],
    "trainable_token_indices": [[1, 2]], "use_rslora": [True], "loraplus_lr_ratio": [8.0], "bias": ["all", "lora_only"],
    "init_lora_weights": ["gaussian", "orthogonal", "olora", "pissa_niter_4"],
}  # fmt: skip
TRAINING: dict[str, list[Any]] = {
    "gradient_checkpointing": [True, {"every_n_layers": 2}, {"selective": True}], "activation_offloading": [True],
    "group_by_length": [True], "global_batch_size": [16], "max_grad_norm": [0, 0.5], "weight_decay": [0.1],
    "label_smoothing": [0.1], "neftune_noise_alpha": [5], "precision": ["bfloat16", "float16"], "eval_steps": [1, 2],
    "optimizer": [{"kind": "muon"}, {"kind": "adafactor"}, {"kind": "lion"}, {"kind": "ademamix"}, {"kind": "sgd"},
                  {"kind": "schedule_free"}, {"kind": "adamw", "bits": 8, "paged": True}, {"kind": "lion", "bits": 8}],
    "schedule": [{"kind": "linear", "warmup_ratio": 0.1}, {"kind": "cosine", "min_lr_ratio": 0.1},
                 {"kind": "inverse_sqrt", "warmup_steps": 1}, {"kind": "warmup_stable_decay", "decay_steps": 1}],
    "averaging": [{"kind": "ema", "decay": 0.9}, {"kind": "swa", "every_steps": 1, "start_ratio": 0.1}],
    "checkpoints": [{"save_steps": 1}, {"save_steps": 1, "best": {}}], "early_stopping": [{"patience": 1}],
    "dataloader_num_workers": [1],
}  # fmt: skip
DATA: dict[str, list[Any]] = {
    "validation": [{"fraction": 0.2}],
    "prepare": [[{"kind": "normalize"}], [{"kind": "deduplicate"}]],
    "packing": ["bfd", "bfd_split", "wrapped"],
    "curriculum": [{"kind": "length"}, {"kind": "perplexity", "model": "./teacher"}],
}
SUITES: dict[str, list[Data]] = {"mlm": [{"kind": "masked_accuracy"}], "reward": [{"kind": "preference_accuracy"}]}
SPEAKS: list[Data] = [{"kind": "perplexity"}, {"kind": "generation", "max_new_tokens": 4}]


def write_world(folder: Path) -> None:
    """The models and rows that the recipes read."""
    tokenizer = _tokenizer()
    shape = SHAPE | {"max_position_embeddings": 256, "vocab_size": len(tokenizer)}
    shape |= {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    heads = {"num_key_value_heads": 1, "head_dim": 16}
    windows = {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]}
    models = {
        "base": Qwen3ForCausalLM(Qwen3Config(tie_word_embeddings=True, **heads, **shape)),
        "untied": Qwen3ForCausalLM(Qwen3Config(**heads, **shape)),
        "teacher": Qwen3ForCausalLM(Qwen3Config(tie_word_embeddings=True, **heads, **shape)),
        "llama": LlamaForCausalLM(LlamaConfig(**heads, **shape)),
        "gemma": Gemma3ForCausalLM(Gemma3TextConfig(**windows, **heads, **shape)),
        "judge": Qwen3ForSequenceClassification(Qwen3Config(num_labels=1, **heads, **shape)),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    tokenizer.add_special_tokens({"mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]"})
    marks = {"cls_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id}
    encoder = ModernBertConfig(**shape | marks | {"vocab_size": len(tokenizer)})
    ModernBertForMaskedLM(encoder).save_pretrained(folder / "encoder")
    tokenizer.save_pretrained(folder / "encoder")
    for name, rows in _rows().items():
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (folder / "rewards.py").write_text(
        "def score(prompts, completions, **columns):\n    return [float(len(str(c)) % 7) for c in completions]\n"
    )


def recipes(seed: int, count: int, errors: Callable[[Data], list[str]]) -> Iterator[Data]:
    """Recipes, each method as often as the others.

    Args:
        seed: of the options.
        count: how many.
        errors: the codes of the errors that rules find in a recipe.
    """
    for number in range(count):
        choose = random.Random(f"{seed} {number}")
        kind = list(LEARNS_FROM)[number % len(LEARNS_FROM)]
        recipe = _plain(kind, choose)
        recipe["name"] = f"{kind}-{number}"
        assert errors(recipe) == [], recipe
        wishes = _wishes(kind, choose)
        for at, value in (*wishes, *wishes):  # Again, since one option may need another.
            trial = copy.deepcopy(recipe)
            section = trial
            for key in at[:-1]:
                section = section.setdefault(key, {"kind": "lora", "r": 4} if key == "adapter" else {})
            section[at[-1]] = value
            if not errors(trial):
                recipe = trial
        yield recipe


def _plain(kind: str, choose: random.Random) -> Data:
    rows = choose.choice(LEARNS_FROM[kind])
    recipe: Data = {"version": 1, "name": kind, "model": {"base": f"./{choose.choice(DECODERS)}"}}
    if kind == "mlm":
        recipe["model"]["base"] = "./encoder"
    elif kind in ("pretrain", "sft") and choose.random() < 0.4:
        family = choose.choice(NEW)
        shape = {name: size for name, size in SHAPE.items() if family != "qwen3_moe" or name != "intermediate_size"}
        experts = EXPERTS if family == "qwen3_moe" else {}
        recipe["model"]["base"] = {"architecture": {"family": family} | shape | experts}
        recipe["tokenizer"] = {"kind": "train", "vocab_size": 300}
    elif rows == "messages":
        recipe["tokenizer"] = {"kind": "reuse", "chat_template": "chatml"}
    source = {"kind": "files", "paths": [f"{rows}.jsonl"], "format": rows.removesuffix("_chat")}
    recipe["data"] = {"train": [source]}
    recipe["method"] = {"kind": kind} | FIXED.get(kind, {})
    quiet = {"no_signal": {"action": "off"}, "audit": {"action": "off"}}  # Three steps may well change nothing.
    recipe["training"] = {"max_steps": 3, "max_length": 64, "per_device_train_batch_size": 8, "logging_steps": 1}
    recipe["training"] |= {"watchdog": quiet}
    return recipe


def _wishes(kind: str, choose: random.Random) -> list[Wish]:
    tables: list[tuple[tuple[str, ...], dict[str, list[Any]], int]] = [
        (("method",), METHOD[kind], 3),
        (("model",), MODEL, 2),
        (("model", "adapter"), ADAPTER, choose.choice((0, 3))),
        (("training",), TRAINING, 5),
        (("data",), DATA, 2),
        ((), {"evaluation": [{"suites": [suite]} for suite in SUITES.get(kind, SPEAKS)], "export": [{}]}, 1),
    ]
    wishes = [
        ((*at, name), choose.choice(table[name]))
        for at, table, most in tables
        for name in choose.sample(list(table), min(most, len(table)))
    ]
    choose.shuffle(wishes)
    return wishes


def _rows() -> dict[str, list[Data]]:
    numbers = range(40)

    def said(role: str, text: str) -> list[Data]:
        return [{"role": role, "content": text}]

    return {
        "text": [{"text": f"one two three {i} red blue green {i * 7}"} for i in numbers],
        "messages": [{"messages": said("user", f"say {i}") + said("assistant", f"it is {i} {i}")} for i in numbers],
        "prompt_completion": [{"prompt": f"say {i}", "completion": f" it is {i}"} for i in numbers],
        "preference": [{"prompt": f"say {i}", "chosen": f" it is {i}", "rejected": f" no {i}"} for i in numbers],
        "preference_chat": [
            {"prompt": said("user", f"say {i}"), "chosen": said("assistant", f"{i} it is"),
             "rejected": said("assistant", f"not {i}")}
            for i in numbers
        ],
        "unpaired_preference": [
            {"prompt": f"say {i}", "completion": f" it is {i}", "label": i % 2 == 0} for i in numbers
        ],
        "prompt": [{"prompt": f"say {i}", "reference": str(i)} for i in numbers],
        "prompt_chat": [{"prompt": said("user", f"say {i}"), "reference": str(i)} for i in numbers],
    }  # fmt: skip
