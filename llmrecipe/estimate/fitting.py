"""The largest batch that fits, and what would make a training fit: the cheapest change first."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from llmrecipe.estimate.memory import Memory, memory
from llmrecipe.estimate.setting import Setting
from llmrecipe.methods.reference import ReferenceMethod
from llmrecipe.optimization import AdamW
from llmrecipe.recipe.training import CheckpointingOptions
from llmrecipe.strategies import FSDP
from llmrecipe.vocabulary import NF4, LoRA

MOST_ROWS = 4096


@dataclass(frozen=True)
class Change:
    """A change of a recipe, and what a device needs with it."""

    what: str
    """As the recipe says it: `training.gradient_checkpointing: true`."""
    price: str
    """What it costs."""
    needs: float
    """Bytes at most."""


def largest_batch(setting: Setting, device: float) -> int:
    """Most rows of one forward pass whose need, at most, is within `device` bytes; 0 when not even one is."""

    def fits(rows: int) -> bool:
        return memory(replace(setting, rows=rows), device).high <= device

    low, high = 0, 1
    while high <= MOST_ROWS and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def changes(setting: Setting, device: float) -> list[Change]:
    """Changes after which a training fits, each alone and added to those before it, until it does.

    Returns:
        Single changes that suffice, in the order of what they cost; where none does, the least pile that does.
    """
    single = [Change(what, price, _need(changed, device)) for what, price, changed in _steps(setting)]
    enough = [change for change in single if change.needs <= device]
    if enough:
        return enough
    piled, names, prices = setting, dict[str, str](), list[str]()
    for what, price, _ in _steps(setting):
        found = {name: changed for name, _, changed in _steps(piled)}
        if what not in found:
            continue
        piled = found[what]
        names[what.partition(":")[0]] = what
        prices.append(price)
        if _need(piled, device) <= device:
            return [Change(", ".join(names.values()), ", ".join(dict.fromkeys(prices)), _need(piled, device))]
    return []


def _need(setting: Setting, device: float) -> float:
    found: Memory = memory(setting, device)
    return found.high


def _steps(setting: Setting) -> Iterator[tuple[str, str, Setting]]:
    """What may be changed, the cheapest first."""
    rows = setting.rows
    if rows > 1:
        fewer, more = rows // 2, setting.accumulation * 2
        yield (
            f"training.per_device_train_batch_size: {fewer}",
            "nothing learned differs, with the same `global_batch_size`",
            replace(setting, rows=fewer, accumulation=more),
        )
        yield (
            "training.per_device_train_batch_size: 1",
            "the same, and less of the accelerator is used",
            replace(setting, rows=1, accumulation=setting.accumulation * rows),
        )
    if isinstance(setting.strategy, FSDP) and setting.accumulation > 1 and not setting.strategy.sync_each_batch:
        spread = setting.strategy.model_copy(update={"sync_each_batch": True})
        yield "distributed.sync_each_batch: true", "more traffic", replace(setting, strategy=spread)
    if setting.checkpointing is None:
        yield (
            "training.gradient_checkpointing: true",
            "a third more time",
            replace(setting, checkpointing=CheckpointingOptions(), offload_activations=False),
        )
    if isinstance(setting.method, ReferenceMethod) and not setting.adapted and setting.method.ref_model is None:
        asked = setting.method.model_copy(update={"precompute_ref_log_probs": True})
        yield "method.precompute_ref_log_probs: true", "one more pass before training", replace(setting, method=asked)
    if isinstance(setting.optimizer, AdamW) and setting.optimizer.bits == 32 and setting.strategy.kind != "deepspeed":
        eight = setting.optimizer.model_copy(update={"bits": 8})
        yield (
            "training.optimizer: {kind: adamw, bits: 8}",
            "state is rounded to 8 bits",
            replace(setting, optimizer=eight),
        )
    if setting.processes > 1 and setting.strategy.kind in ("ddp", "single"):
        yield "distributed: {kind: fsdp}", "more traffic", replace(setting, strategy=FSDP(kind="fsdp"))
    if not setting.adapted and setting.method.kind not in ("pretrain", "mlm"):
        lora = replace(setting, adapter=LoRA(kind="lora"), weights="bfloat16")
        yield "model.adapter: {kind: lora}", "only an adapter is trained", lora
    if setting.adapted and setting.quantization.kind == "none" and setting.strategy.kind != "deepspeed":
        yield (
            "model.quantization: {kind: nf4}",
            "a quarter more time, and a base that is rounded to 4 bits",
            replace(setting, quantization=NF4(kind="nf4")),
        )
    if setting.length > 512:
        yield (
            f"training.max_length: {setting.length // 2}",
            "longer rows are cut",
            replace(setting, length=setting.length // 2),
        )
