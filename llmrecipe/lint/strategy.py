"""LR4: what FSDP and DeepSpeed cannot be combined with."""

from collections.abc import Iterator
from dataclasses import dataclass

from llmrecipe.lint.rule import Case, Finding, rule
from llmrecipe.methods.distillation import Distillation
from llmrecipe.methods.ppo import PPO
from llmrecipe.optimization import SGD, Adafactor, AdamW, Muon, Optimizer, ScheduleFree
from llmrecipe.recipe import Recipe
from llmrecipe.recipe.model import FromScratch
from llmrecipe.strategies import FSDP, DeepSpeed, Distributed
from llmrecipe.vocabulary import NF4, Adapter, DoRA, Full

STRATEGY_RULES = (
    "LR249", "LR407", "LR408", "LR409", "LR410", "LR411", "LR412", "LR414", "LR416", "LR417", "LR419", "LR493", "LR494",
    "LR495", "LR496", "LR497", "LR498", "LR499",
)  # fmt: skip
"""Rules that hold for the strategy of a launcher as well as for that of a recipe."""


RECOMPUTED = "distributed.activation_checkpointing"
TABLES = ("lm_head", "embed_tokens", "wte", "word_embeddings")
"""What models call the embeddings and the output head, which often are one."""


@dataclass(frozen=True)
class Impossible:
    """Why a combination cannot be."""

    at: str
    """The field that is wrong, as a recipe names it."""
    message: str
    help: str


def impossible_optimizer(strategy: Distributed, optimizer: Optimizer) -> Impossible | None:
    """Whether the optimizer can step shares of weights."""
    if not isinstance(strategy, FSDP | DeepSpeed):
        return None
    at, instead = "training.optimizer", "use `{kind: adamw}`, or `distributed: {kind: ddp}`"
    match optimizer:
        case Muon() if isinstance(strategy, FSDP):
            return None
        case Muon() | Adafactor():
            message = f"`{optimizer.kind}` looks at whole matrices, and `{strategy.kind}` gives it shares of them"
            return Impossible(at, message, instead)
        case ScheduleFree():
            message = f"`schedule_free` moves weights between steps, which `{strategy.kind}` holds in shares"
            return Impossible(at, message, instead)
        case AdamW(bits=32, paged=False) | SGD():
            pass
        case _ if isinstance(strategy, FSDP):
            return Impossible(
                at, "bitsandbytes, which makes this optimizer, does not know the shares of FSDP2", instead
            )
    if isinstance(strategy, DeepSpeed) and strategy.offload_optimizer != "none" and optimizer.kind != "adamw":
        message = f"DeepSpeed does not step `{optimizer.kind}` where its state is offloaded to"
        return Impossible(at, message, "use `{kind: adamw}`, or `offload_optimizer: none`")
    return None


def impossible_adapter(strategy: Distributed, adapter: Adapter) -> Impossible | None:
    """Whether an adapter can be trained on a base that is spread."""
    if isinstance(adapter, Full) or not isinstance(strategy, FSDP):
        return None
    if strategy.activation_checkpointing:
        message = "adapters on layers that FSDP recomputes are written without their weights"
        return Impossible(RECOMPUTED, message, "use `training.gradient_checkpointing` instead")
    instead = "leave it out, or use `distributed: {kind: deepspeed}`"
    if adapter.trainable_token_indices:
        message = "FSDP2 cannot spread an embedding of which some rows are trained"
        return Impossible("model.adapter.trainable_token_indices", message, instead)
    tables = [name for name in adapter.modules_to_save if name.rpartition(".")[2] in TABLES]
    if tables:
        message = f"FSDP2 cannot spread `{tables[0]}` and its trained copy, which models hold in two places"
        return Impossible("model.adapter.modules_to_save", message, instead)
    return None


@rule("LR406")
def fsdp_without_accelerators(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `fsdp` has accelerators.

    ## Why is this bad?
    On processors Accelerate gives every process the whole model, as `ddp` does, and says nothing.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp}
    hardware: {num_accelerators: 2}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 2}
    ```
    """
    recipe = case.recipe
    if isinstance(recipe.distributed, FSDP) and recipe.hardware.accelerator == "cpu":
        message = "`fsdp` on processors would be `ddp`"
        yield Finding("distributed.kind", message, "name `hardware.accelerator`, or use `ddp` or `deepspeed`")


@rule("LR407")
def optimizer_of_shares(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that the optimizer can step shares of weights.

    ## Why is this bad?
    Under `fsdp` and `deepspeed` each process steps a share of every weight, and ZeRO flattens it. Muon (which FSDP2
    can gather for) and Adafactor look at rows and columns of the whole matrix, and optimizers of bitsandbytes do not
    know FSDP2's shares: they would fail, or step something else. Offloaded state is stepped by DeepSpeed's own AdamW.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {optimizer: {kind: muon}}
    distributed: {kind: deepspeed}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {optimizer: {kind: muon}}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    yield from _found(impossible_optimizer(case.recipe.distributed, case.recipe.training.optimizer))


@rule("LR409")
def offload_without_its_stage(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that what is offloaded is spread by the stage of ZeRO, and that `nvme` has a folder.

    ## Why is this bad?
    Stages 1 and 2 keep whole weights on every device. Disks hold state of stage 3 alone, and DeepSpeed has to be told
    where.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: deepspeed, zero_stage: 2, offload_parameters: cpu}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: deepspeed, zero_stage: 3, offload_parameters: cpu}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    strategy = case.recipe.distributed
    if not isinstance(strategy, DeepSpeed):
        return
    if strategy.offload_parameters != "none" and strategy.zero_stage != 3:
        message = f"stage {strategy.zero_stage} does not spread weights, so that there is nothing to offload"
        yield Finding("distributed.offload_parameters", message, "set `zero_stage: 3`, or leave it out")
    if strategy.offload_optimizer == "nvme" and strategy.zero_stage != 3:
        message = f"stage {strategy.zero_stage} does not offload to a disk"
        yield Finding("distributed.offload_optimizer", message, "set `zero_stage: 3`, or `offload_optimizer: cpu`")
    on_disk = "nvme" in (strategy.offload_optimizer, strategy.offload_parameters)
    if on_disk and strategy.nvme_path is None:
        at = (
            "distributed.offload_optimizer"
            if strategy.offload_optimizer == "nvme"
            else "distributed.offload_parameters"
        )
        yield Finding(at, "`nvme` needs a folder on a disk of each node", "write `nvme_path: /local_nvme`")
    if strategy.nvme_path is not None and not on_disk:
        yield Finding("distributed.nvme_path", "nothing is offloaded there", "leave it out, or offload to `nvme`")


@rule("LR410")
def checkpointing_twice(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that activations are recomputed by one switch.

    ## Why is this bad?
    `distributed.activation_checkpointing` and `training.gradient_checkpointing` are two ways to the same end. With both
    Transformers refuses to train, once the model is loaded.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true}
    distributed: {kind: fsdp, activation_checkpointing: true}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp, activation_checkpointing: true}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    strategy = case.recipe.distributed
    if isinstance(strategy, FSDP) and strategy.activation_checkpointing and case.recipe.training.gradient_checkpointing:
        help_ = "leave out `training.gradient_checkpointing`"
        yield Finding("training.gradient_checkpointing", "activations would be recomputed twice", help_)


@rule("LR411")
def adapter_on_recomputed_layers(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that FSDP's `activation_checkpointing` is not used with an adapter.

    ## Why is this bad?
    Accelerate wraps each layer, PEFT no longer finds the weights of the adapter by their names, and writes an empty
    one. It also does not repeat random numbers: with `lora_dropout`, gradients would be those of another function.
    Nothing says so.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp, activation_checkpointing: true}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {gradient_checkpointing: true}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    problem = impossible_adapter(case.recipe.distributed, case.recipe.model.adapter)
    if problem is not None and problem.at == RECOMPUTED:
        yield from _found(problem)


@rule("LR408")
def adapter_on_shares(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that FSDP can spread what is trained beside the low-rank updates.

    ## Why is this bad?
    Rows of an embedding, and trained copies of embeddings or of the output head, are weights that appear twice in the
    model. FSDP2 spreads each weight once, and stops when training begins.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, modules_to_save: [lm_head]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora, modules_to_save: [lm_head]}}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: deepspeed, zero_stage: 3}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    problem = impossible_adapter(case.recipe.distributed, case.recipe.model.adapter)
    if problem is not None and problem.at != RECOMPUTED:
        yield from _found(problem)


@rule("LR414")
def weights_followed_in_shares(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `averaging` and `ewc` find whole weights.

    ## Why is this bad?
    Both follow every weight from the beginning of training on. Under `fsdp` and ZeRO-3 these are replaced by shares
    when the model is spread, and what was followed would be something that no longer learns.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {averaging: {kind: ema}}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    training: {averaging: {kind: ema}}
    distributed: {kind: ddp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    strategy, training = case.recipe.distributed, case.recipe.training
    if not isinstance(strategy, FSDP) and not (isinstance(strategy, DeepSpeed) and strategy.zero_stage == 3):
        return
    for name in ("averaging", "ewc"):
        if getattr(training, name) is not None:
            message = f"`{name}` follows whole weights, and `{strategy.kind}` holds shares of them"
            yield Finding(f"training.{name}", message, "use `distributed: {kind: ddp}`, or ZeRO stage 1 or 2")


@rule("LR412")
def read_by_one_process(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `cpu_ram_efficient_loading` is used where only one model is read, and as it is.

    ## Why is this bad?
    With it all processes but one begin without weights and get them when the model is spread. TRL spreads a reference
    model without them, an adapter that begins with parts of the base finds none there, and a model from scratch is not
    read at all. A base in 4 bits is read by every process all the same, so that the host needs memory for each.

    ## Example
    ```yaml
    version: 1
    name: choices
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    distributed: {kind: fsdp, cpu_ram_efficient_loading: true}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: choices
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [pairs.jsonl], format: preference}]}
    method: {kind: dpo}
    distributed: {kind: fsdp}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    recipe = case.recipe
    if not isinstance(recipe.distributed, FSDP) or not recipe.distributed.cpu_ram_efficient_loading:
        return
    reason = _needs_weights(recipe)
    if reason is not None:
        yield Finding("distributed.cpu_ram_efficient_loading", reason, "leave it out: every process reads the weights")


def _needs_weights(recipe: Recipe) -> str | None:
    """Why every process has to have read the weights of the model; None when one will do."""
    adapter = recipe.model.adapter
    if recipe.method is not None and recipe.method.kind not in ("pretrain", "sft"):
        return f"the method `{recipe.method.kind}` needs the weights in every process before they are spread"
    if isinstance(recipe.model.base, FromScratch):
        return "a model from scratch is not read"
    if not isinstance(adapter, Full) and adapter.init_lora_weights not in ("default", "gaussian"):
        return f"`init_lora_weights: {adapter.init_lora_weights}` begins with parts of the base"
    if isinstance(recipe.model.quantization, NF4):
        return "a base in 4 bits is read and quantized by every process, whatever this says"
    return None


@rule("LR413")
def hybrid_over_one_node(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that `sharding: hybrid` has several nodes.

    ## Why is this bad?
    It holds shares within a node and copies across nodes. Over one node it is `full`.

    ## Example
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp, sharding: hybrid}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: style
    model: {base: Qwen/Qwen3-8B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: sft}
    distributed: {kind: fsdp, sharding: hybrid}
    hardware: {accelerator: h100-80gb, num_accelerators: 8, num_nodes: 4}
    ```
    """
    strategy, hardware = case.recipe.distributed, case.recipe.hardware
    if not isinstance(strategy, FSDP) or strategy.sharding != "hybrid":
        return
    if hardware.num_nodes == 1:
        yield Finding("distributed.sharding", "`hybrid` over one node is `full`", "set `hardware.num_nodes`, or `full`")
    elif hardware.num_accelerators == 1:
        message = "`hybrid` over nodes of one device each spreads nothing"
        yield Finding("distributed.sharding", message, "use `full`, which spreads over the nodes")


def _found(problem: Impossible | None) -> Iterator[Finding]:
    if problem is not None:
        yield Finding(problem.at, problem.message, problem.help)


@rule("LR416")
def distillation_in_float16_under_deepspeed(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that distillation under DeepSpeed does not compute in `float16`.

    ## Why is this bad?
    In `float16` DeepSpeed converts everything that it is called with, and the teacher is part of it: training stops in
    its first step.

    ## Example
    ```yaml
    version: 1
    name: student
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: distillation, teacher_model: Qwen/Qwen3-8B}
    training: {precision: float16}
    distributed: {kind: deepspeed}
    hardware: {accelerator: t4-16gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: student
    model: {base: Qwen/Qwen3-0.6B}
    data: {train: [{kind: files, paths: [chats.jsonl], format: messages}]}
    method: {kind: distillation, teacher_model: Qwen/Qwen3-8B}
    training: {precision: float16}
    distributed: {kind: ddp}
    hardware: {accelerator: t4-16gb, num_accelerators: 8}
    ```
    """
    recipe = case.recipe
    if not isinstance(recipe.method, Distillation) or not isinstance(recipe.distributed, DeepSpeed):
        return
    if recipe.training.precision == "float16":
        message = "DeepSpeed in `float16` cannot be called with a teacher"
        yield Finding("training.precision", message, "use `bfloat16`, or `distributed: {kind: ddp}`")


@rule("LR417")
def dora_of_ppo_in_4_bits_under_deepspeed(case: Case) -> Iterator[Finding]:
    """
    ## What it does
    Checks that PPO does not train a DoRA adapter on a base in 4 bits under DeepSpeed.

    ## Why is this bad?
    DeepSpeed writes down the shapes of frozen weights, and does not find those of the 4-bit layers that DoRA has
    measured: the first checkpoint fails.

    ## Example
    ```yaml
    version: 1
    name: policy
    model: {base: Qwen/Qwen3-8B, adapter: {kind: dora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: length, max: 50}]}
    distributed: {kind: deepspeed}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```

    ## Use instead
    ```yaml
    version: 1
    name: policy
    model: {base: Qwen/Qwen3-8B, adapter: {kind: lora}, quantization: {kind: nf4}}
    data: {train: [{kind: files, paths: [problems.jsonl], format: prompt}]}
    method: {kind: ppo, reward_functions: [{kind: length, max: 50}]}
    distributed: {kind: deepspeed}
    hardware: {accelerator: h100-80gb, num_accelerators: 8}
    ```
    """
    recipe = case.recipe
    if not isinstance(recipe.method, PPO) or not isinstance(recipe.distributed, DeepSpeed):
        return
    if isinstance(recipe.model.adapter, DoRA) and isinstance(recipe.model.quantization, NF4):
        message = "DeepSpeed cannot save a DoRA adapter of PPO on a base in 4 bits"
        yield Finding("model.adapter.kind", message, "use `lora`, or `distributed: {kind: ddp}`")
