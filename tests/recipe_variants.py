"""Recipes that are all different and all right, made from a seed; and as text, a key on each line."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmrecipe.source.inline import inline, quoted

Data = dict[str, Any]

FILES = {
    "chats.jsonl": '{"messages": []}\n',
    "sharegpt.jsonl": '{"conversations": []}\n',
    "instructions.jsonl": '{"instruction": "", "output": ""}\n',
    "completions.jsonl": '{"prompt": "", "completion": ""}\n',
    "pairs.jsonl": '{"prompt": "", "chosen": "", "rejected": ""}\n',
    "answers.jsonl": '{"prompt": "", "completion": "", "label": true}\n',
    "problems.jsonl": '{"prompt": "", "reference": ""}\n',
    "corpus.txt": "text\n",
    "held-out.jsonl": "{}\n",
    "held-out.txt": "text\n",
    "more.jsonl": "{}\n",
    "more.txt": "text\n",
    "before.jsonl": "{}\n",
    "before.txt": "text\n",
    "base/config.json": "{}",
    "teacher/config.json": "{}",
    "rewards.py": "def score(prompts, completions, **columns): ...\n",
}
"""What the recipes read, beside them."""

ROWS = {
    "text": "corpus.txt",
    "messages": "chats.jsonl",
    "conversations": "sharegpt.jsonl",
    "instruction": "instructions.jsonl",
    "prompt_completion": "completions.jsonl",
    "preference": "pairs.jsonl",
    "unpaired_preference": "answers.jsonl",
    "prompt": "problems.jsonl",
}
LEARNS_FROM = {
    "pretrain": ("text",),
    "mlm": ("text",),
    "sft": ("messages", "conversations", "instruction", "prompt_completion"),
    "reward": ("preference",),
    "dpo": ("preference",),
    "kto": ("unpaired_preference",),
    "orpo": ("preference",),
    "cpo": ("preference",),
    "distillation": ("messages", "prompt_completion"),
    "grpo": ("prompt",),
    "rloo": ("prompt",),
    "ppo": ("prompt",),
}
LIKELIHOOD = ("pretrain", "sft")
ONLINE = ("grpo", "rloo", "ppo")
SMALL = (
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-1.7B",
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "meta-llama/Llama-3.2-1B-Instruct",
    "google/gemma-3-1b-it",
    "./base",
)
ENCODERS = ("answerdotai/ModernBERT-base", "./base")


def write_files(folder: Path) -> None:
    """The files that the recipes read."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)


def variants(seed: int, count: int) -> Iterator[Data]:
    """Recipes, each method as often as the others."""
    for number in range(count):
        yield _Variant(random.Random(f"{seed} {number}"), number).data()


def lines(data: Data) -> tuple[str, dict[tuple[str | int, ...], int]]:
    """A recipe as text, and the line of each key and item."""
    text: list[str] = []
    places: dict[tuple[str | int, ...], int] = {}
    _write(data, (), "", text, places)
    return "\n".join(text) + "\n", places


def _write(value: Any, path: tuple[str | int, ...], indent: str, text: list[str], places: dict[Any, int]) -> None:
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in entries:
        at = (*path, key)
        places[at] = len(text) + 1
        name = f"{indent}{quoted(key)}:" if isinstance(key, str) else f"{indent}-"
        if isinstance(item, dict) and item and isinstance(key, int):
            _write(item, at, f"{indent}  ", text, places)
            line = places[at] - 1
            text[line] = f"{indent}- {text[line][len(indent) + 2 :]}"
        elif (isinstance(item, dict) and item) or (isinstance(item, list) and any(isinstance(i, dict) for i in item)):
            text.append(name)
            _write(item, at, f"{indent}  ", text, places)
        else:
            text.append(f"{name} {inline(item)}")


class _Variant:
    """One recipe; what cannot go together is decided in one place each."""

    def __init__(self, choose: random.Random, number: int) -> None:
        self.pick = choose
        self.number = number
        kinds = list(LEARNS_FROM)
        self.kind = kinds[number % len(kinds)]
        self.rows = choose.choice(LEARNS_FROM[self.kind])
        self.scratch = self.kind in ("pretrain", "mlm") and choose.random() < 0.5
        self.full = self.scratch or self.kind == "mlm" or choose.random() < 0.4
        self.strategy = choose.choice(("single", "single", "ddp", "fsdp", "deepspeed"))
        self.gpu = self.strategy != "single" or choose.random() < 0.5
        self.validated = choose.random() < 0.6
        self.base = choose.choice(ENCODERS if self.kind == "mlm" else SMALL)
        self.likelihood = self.kind in (*LIKELIHOOD, "mlm")

    def chance(self, share: float) -> bool:
        """True as often as said."""
        return self.pick.random() < share

    def turn(self, values: Sequence[Any]) -> Any:
        """One after the other, over the recipes of one method."""
        return values[self.number // len(LEARNS_FROM) % len(values)]

    def some(self, **options: Any) -> Data:
        """Some of the options, each a list of values."""
        return {name: self.pick.choice(values) for name, values in options.items() if self.chance(0.4)}

    def data(self) -> Data:
        """The recipe."""
        found: Data = {"version": 1, "name": f"{self.kind}-{self.number}", "model": self.model()}
        if self.scratch:
            found["tokenizer"] = self.tokenizer()
        found |= {"data": self.sources(), "method": self.method(), "training": self.training()}
        if self.strategy != "single":
            found["distributed"] = self.distributed()
        if self.gpu:
            number = 1 if self.strategy == "single" else self.pick.choice((2, 4, 8))
            found["hardware"] = {"accelerator": self.pick.choice(("h100-80gb", "a100-80gb", "h200-141gb"))}
            found["hardware"] |= {"num_accelerators": number} | self.some(price_per_hour=[1.5, 2, 3.25])
        if suites := self.suites():
            found["evaluation"] = {"suites": suites}
            if suites[0]["kind"] == "perplexity" and self.chance(0.5):
                found["evaluation"]["gates"] = [
                    {"metric": "perplexity/perplexity", "max": self.pick.choice((12, 20.5))}
                ]
        if self.chance(0.5):
            found["export"] = self.export()
        if self.kind not in ("mlm", "reward") and self.chance(0.4):
            found["serving"] = self.serving()
        if self.chance(0.3):
            found["tracking"] = self.tracking()
        if self.validated and self.likelihood and self.kind != "mlm" and self.chance(0.4):
            found["sweep"] = self.sweep()
            found.setdefault("evaluation", {"suites": [{"kind": "perplexity"}]})
        if self.chance(0.3):
            found["metadata"] = {"purpose": "a variant", "number": self.number, "tags": ["a", "b: c"]}
        return found

    # -- model --

    def model(self) -> Data:
        if self.scratch:
            return {"base": {"architecture": self.architecture()}}
        found: Data = {"base": self.base}
        if self.kind == "sft" and self.number < 6 * len(LEARNS_FROM):
            found = {"base": {"merge": self.merge()}}
            self.base = "a merge"
        elif not self.base.startswith("."):
            found |= self.some(revision=["main", "c1899de289a04d12100db370d81485cdf75e47ca"])
        found |= self.some(attention=["sdpa", "eager"])
        if not self.full:
            found["adapter"] = self.adapter()
            if (
                self.strategy in ("single", "ddp")
                and found["adapter"]["kind"] == "lora"
                and self.gpu
                and self.chance(0.3)
            ):
                found["quantization"] = self.quantization()
        return found

    def merge(self) -> Data:
        kind = self.turn(("linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties"))
        found: Data = {"kind": kind} | ({} if kind in ("linear", "slerp") else {"base": "./teacher"})
        return found | {"models": [{"model": "Qwen/Qwen3-0.6B"}, {"model": "./base"}]}

    def architecture(self) -> Data:
        if self.kind == "mlm":
            return {
                "family": "modernbert" if self.strategy == "fsdp" else self.pick.choice(("bert", "modernbert")),
                "hidden_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 128,
            }
        heads = self.pick.choice((2, 4, 8))
        family = self.pick.choice(("qwen3", "llama", "mistral", "smollm3", "gemma3_text", "gpt2"))
        found = {
            "family": family,
            "hidden_size": heads * self.pick.choice((16, 32)),
            "num_hidden_layers": self.pick.choice((2, 4, 6)),
            "num_attention_heads": heads,
            "intermediate_size": 256,
        }
        if family != "gpt2":
            found |= self.some(num_key_value_heads=[heads, heads // 2], rope_theta=[1e4, 5e5])
        return found | self.some(tie_word_embeddings=[True, False], initializer_range=[0.02])

    def tokenizer(self) -> Data:
        algorithm = "wordpiece" if self.kind == "mlm" else self.pick.choice(("bpe", "unigram"))
        return {
            "kind": "train",
            "algorithm": algorithm,
            "vocab_size": self.pick.choice((1000, 4096, 8000)),
            **self.some(min_frequency=[2, 3]),
        }

    def adapter(self) -> Data:
        kind = "lora" if self.strategy == "fsdp" or self.kind == "ppo" else self.pick.choice(("lora", "lora", "dora"))
        rank = self.pick.choice((4, 8, 16, 32))
        found: Data = {"kind": kind, "r": rank, "lora_alpha": rank * self.pick.choice((1, 2))}
        found |= self.some(lora_dropout=[0.0, 0.05, 0.1], target_modules=["all-linear", ["q_proj", "v_proj"]])
        if kind == "lora":
            found |= self.some(use_rslora=[False])
        if kind == "lora" and self.kind in LIKELIHOOD:
            found |= self.some(init_lora_weights=["default", "gaussian"])
        return found

    def quantization(self) -> Data:
        if self.chance(0.3):
            return {"kind": "int8"}
        return {"kind": "nf4"} | self.some(double_quantization=[True, False], compute_dtype=["auto", "bfloat16"])

    # -- data --

    def source(self, format: str, name: str | None = None) -> Data:
        if name is None and self.chance(0.1):
            return {"kind": "hub", "dataset": f"owner/{format}-rows", "revision": "1" * 40, "format": format}
        file = ROWS[format] if name is None else f"{name}.{'txt' if format == 'text' else 'jsonl'}"
        found: Data = {"kind": "files", "paths": [file], "format": format}
        if format == "text":
            found |= self.some(sample_by=["document", "paragraph", "line"])
        return found | self.some(max_samples=[100, 5000])

    def sources(self) -> Data:
        train = [self.source(self.rows)]
        if self.chance(0.3):
            both = (*train, self.source(self.rows, "more"))
            train = [source | {"weight": self.pick.choice((1, 0.5, 3))} for source in both]
        found: Data = {"train": train}
        if self.validated:
            held_out = {"sources": [self.source(self.rows, "held-out")]}
            found["validation"] = self.pick.choice(({"fraction": 0.05}, held_out))
        if self.chance(0.4):
            found["prepare"] = self.preparation()
        if self.kind in LIKELIHOOD and self.chance(0.4):
            found["packing"] = self.pick.choice(("none", "bfd"))
        elif self.kind in LIKELIHOOD and self.chance(0.5):
            found["packing"] = "none"
            found["curriculum"] = self.curriculum()
        return found

    def curriculum(self) -> Data:
        kinds = (
            {"kind": "length"},
            {"kind": "column", "column": "level"},
            {"kind": "perplexity", "model": "./teacher"},
        )
        found = self.turn(kinds) | self.some(descending=[True, False])
        paced = ({"kind": "competence", "start_ratio": 0.2}, {"kind": "sorted", "epochs": 1})
        return found | ({"pacing": self.pick.choice(paced)} if self.chance(0.5) else {})

    def preparation(self) -> list[Data]:
        steps: list[Data] = [
            {"kind": "normalize", "unicode": self.pick.choice(("NFC", "NFKC"))},
            {"kind": "filter", "min_words": self.pick.choice((1, 3)), "max_words": 5000},
            {"kind": "deduplicate", "ignore_case": self.chance(0.5)},
        ]
        return steps[: self.pick.randint(1, 3)]

    # -- method --

    def method(self) -> Data:
        found: Data = {"kind": self.kind}
        match self.kind:
            case "mlm":
                found |= self.some(mlm_probability=[0.15, 0.3], whole_word=[False])
            case "sft" if self.rows in ("messages", "conversations"):
                found |= self.some(assistant_only_loss=[self.base.startswith("Qwen"), False])
            case "sft" if self.rows == "prompt_completion":
                found |= self.some(completion_only_loss=[True, False])
            case "reward":
                found |= self.some(center_rewards_coefficient=[0.01])
            case "dpo":
                found |= self.some(beta=[0.05, 0.1, 0.3], loss_type=["sigmoid", "hinge", "ipo"])
                found |= self.some(precompute_ref_log_probs=[False])
            case "kto":
                found |= self.some(beta=[0.1, 0.2], desirable_weight=[1.0, 1.33], loss_type=["kto"])
            case "orpo":
                found |= self.some(beta=[0.1, 0.2])
            case "cpo":
                found |= self.some(beta=[0.1, 0.2], loss_type=["sigmoid", "hinge", "ipo"], cpo_alpha=[1.0])
            case "distillation":
                found |= {"teacher_model": "./teacher", "lmbda": 0} | self.some(beta=[0.0, 0.5], temperature=[1.0, 0.9])
            case "grpo" | "rloo":
                found |= {"num_generations": 4, "max_completion_length": 128} | self.rewards()
                found |= self.some(temperature=[0.7, 1.0], top_p=[0.95, 1.0], beta=[0.0, 0.04], epsilon=[0.2])
            case "ppo":
                found |= {"max_completion_length": 64} | self.rewards()
                if self.chance(0.4):
                    found["kl_control"] = self.pick.choice(({"kind": "adaptive", "target_kl": 4.0}, {"kind": "fixed"}))
                found |= self.some(kl_coef=[0.02, 0.1], gamma=[1.0, 0.99], lam=[0.95], kl_estimator=["k1", "k3"])
        return found

    def rewards(self) -> Data:
        functions: list[Data] = [
            {"kind": "exact_match"},
            {"kind": "numeric_answer", "tolerance": 1e-3},
            {"kind": "regex", "pattern": "answer: (.+)"},
            {"kind": "length", "max": 60},
            {"kind": "json_schema", "json_schema": {"type": "object"}},
            {"kind": "python", "path": "rewards.py", "function": "score"},
        ]
        return {"reward_functions": self.pick.sample(functions, self.pick.randint(1, 2))}

    # -- training --

    def training(self) -> Data:
        found: Data = {"max_steps": self.pick.choice((100, 320, 1000))}
        if self.chance(0.4):
            found = {"num_train_epochs": self.pick.choice((1, 2, 3))}
        found |= {"per_device_train_batch_size": 8}
        if self.kind not in ONLINE:
            found |= self.some(global_batch_size=[64, 128])
            found |= self.some(max_length=[512, 1024] if self.scratch or self.kind == "mlm" else [512, 768, 1024])
        found |= self.some(weight_decay=[0.0, 0.01, 0.1], max_grad_norm=[0.5, 1.0], seed=[1, 7], logging_steps=[1, 10])
        found |= self.some(gradient_checkpointing=[True, False], dataloader_num_workers=[0, 2])
        if self.gpu:
            found |= self.some(precision=["auto", "bfloat16"])
        found["optimizer"] = self.optimizer()
        found["schedule"] = self.schedule(found, found["optimizer"]["kind"])
        if self.validated:
            found |= self.some(eval_steps=[20, 50])
        if self.validated and "eval_steps" in found and self.kind not in ONLINE and self.chance(0.3):
            found["early_stopping"] = {"patience": self.pick.choice((2, 3))}
        if self.chance(0.4):
            found["checkpoints"] = self.some(save_steps=[50, 100], save_total_limit=[1, 2, 5])
        if self.likelihood and found["optimizer"]["kind"] == "adamw" and self.strategy == "single" and self.chance(0.3):
            found["averaging"] = self.pick.choice(({"kind": "ema", "decay": 0.99}, {"kind": "swa", "every_steps": 5}))
        elif self.kind == "sft" and self.full and self.strategy == "single" and self.chance(0.4):
            found["ewc"] = {"ewc_lambda": 0.5, "data": [self.source(self.rows, "before")]}
        if self.chance(0.3):
            found["watchdog"] = {"hang": {"action": "warn", "minutes": self.pick.choice((5, 30))}}
        return found

    def optimizer(self) -> Data:
        kinds = ["adamw", "adamw", "adafactor", "lion", "sgd", "ademamix", "schedule_free"]
        if self.strategy in ("fsdp", "deepspeed") or self.kind == "ppo":
            kinds = ["adamw"]
        elif self.full:
            kinds.append("muon")
        kind = self.pick.choice(kinds)
        found: Data = {"kind": kind}
        match kind:
            case "adamw":
                found |= self.some(beta1=[0.9], beta2=[0.95, 0.999], epsilon=[1e-8])
            case "muon":
                found |= self.some(momentum=[0.9, 0.95], ns_steps=[5, 6])
            case "sgd":
                found |= {"momentum": 0.9} | self.some(nesterov=[True])
            case "lion":
                found |= self.some(beta1=[0.9], beta2=[0.99])
            case "adafactor":
                found |= self.some(clip_threshold=[1.0])
        return found

    def schedule(self, training: Data, optimizer: str) -> Data:
        if optimizer == "schedule_free":
            return {"kind": "constant", "warmup_steps": self.pick.choice((0, 10))}
        kind = self.pick.choice(("constant", "linear", "cosine", "inverse_sqrt", "warmup_stable_decay"))
        found: Data = {"kind": kind}
        if kind == "warmup_stable_decay":
            found |= {"decay_steps": 20, "warmup_steps": self.pick.choice((0, 10))}
        elif kind == "inverse_sqrt":
            found |= {"warmup_steps": 10}
        else:
            found |= self.pick.choice(({"warmup_ratio": 0.05}, {"warmup_steps": 10}, {}))
        if kind == "cosine":
            found |= self.some(min_lr_ratio=[0.0, 0.1])
        return found

    def distributed(self) -> Data:
        found: Data = {"kind": self.strategy}
        if self.strategy == "fsdp":
            found |= self.some(sharding=["full", "grad"], state_dict_type=["sharded", "full"])
        if self.strategy == "deepspeed":
            found["zero_stage"] = self.pick.choice((1, 2))
        return found

    # -- what follows --

    def suites(self) -> list[Data]:
        if not self.validated or self.chance(0.4):
            return []
        match self.kind:
            case "mlm":
                return [{"kind": "masked_accuracy"}]
            case "pretrain" | "sft" | "distillation":
                suites: list[Data] = [{"kind": "perplexity"} | self.some(batch_size=[4, 8])]
                if self.kind == "sft" and self.chance(0.4):
                    suites.append({"kind": "generation", "sources": [self.source("prompt_completion", "held-out")]})
                return suites
            case "reward" | "dpo" | "orpo" | "cpo":
                return [{"kind": "preference_accuracy", "sources": [self.source("preference", "held-out")]}]
            case "grpo" | "rloo" | "ppo":
                return [{"kind": "reward", "sources": [self.source("prompt", "held-out")]}]
        return []

    def export(self) -> Data:
        found = self.some(license=["apache-2.0", "mit"], description=["what it is for: a test"])
        if self.chance(0.5):
            found["formats"] = [
                {"kind": "safetensors"} | self.some(dtype=["float32", "bfloat16"], max_shard_size=["2GB"])
            ]
        return found

    def serving(self) -> Data:
        if not self.gpu:
            return {"kind": "transformers"} | self.some(port=[8000, 8080])
        found: Data = {"kind": "vllm"} | self.some(port=[8000, 8001], max_num_seqs=[64], dtype=["auto", "bfloat16"])
        found |= self.some(max_model_len=[512], gpu_memory_utilization=[0.8, 0.9])
        return found | ({"replicas": {"min": 2}} if self.chance(0.3) else {})

    def sweep(self) -> Data:
        sampler = self.turn(({"kind": "tpe", "startup_trials": 5}, {"kind": "random"}, {"kind": "grid"}))
        parameters: Data = {"training.seed": {"kind": "choice", "values": [1, 2, 3]}}
        if sampler["kind"] != "grid":
            parameters["training.max_grad_norm"] = {"kind": "float", "low": 0.5, "high": 1.0}
            parameters["training.logging_steps"] = {"kind": "int", "low": 5, "high": 10}
        found: Data = {"parameters": parameters, "sampler": sampler, "trials": 3}
        return found | {"objective": {"metric": "perplexity/perplexity", "direction": "minimize"}}

    def tracking(self) -> Data:
        trackers: list[Data] = [
            {"kind": "tensorboard"},
            {"kind": "wandb", "project": "variants"},
            {"kind": "mlflow", "tracking_uri": "https://mlflow.example.org", "experiment": "variants"},
            {"kind": "trackio"},
        ]
        return {"trackers": self.pick.sample(trackers, self.pick.randint(1, 2))}
