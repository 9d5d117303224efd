"""What `llmrecipe plan` says a recipe takes: the same figures as lines for people and as JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llmrecipe import facts
from llmrecipe.estimate import compute, counting, device_bytes, fitting, serving, setting, states, storage
from llmrecipe.estimate.compute import Amount, Cost, Range, Work
from llmrecipe.estimate.fitting import Change
from llmrecipe.estimate.memory import Memory, memory
from llmrecipe.estimate.serving import Serving
from llmrecipe.estimate.setting import Setting
from llmrecipe.estimate.storage import Storage
from llmrecipe.recipe import Recipe

GIB = 2**30
BILLION = 1e9


@dataclass(frozen=True)
class Figures:
    """What one recipe takes; parts are None where the recipe has none, or nothing offline says it."""

    recipe: str
    setting: Setting | None
    memory: Memory | None
    device: float | None
    batch: int | None
    """Largest number of rows of a forward pass that fits."""
    changes: tuple[Change, ...]
    """What would make it fit, where it may not."""
    storage: Storage | None
    cost: Cost | None
    work: Work | None
    serving: Serving | None


def figures(recipe: Recipe, recipes: Mapping[str, Recipe], amount: Amount | None = None) -> Figures | None:
    """Everything that can be said of a recipe; None where it neither trains nor serves a model that is known.

    `amount` is what one epoch reads, where that is known.
    """
    hardware = recipe.hardware
    preset, device = facts.accelerators().get(hardware.accelerator), device_bytes(hardware)
    training = setting.of(recipe, recipes)
    served = None
    if device is not None and preset is not None:
        served = serving.serving(recipe, recipes, device, preset)
    if training is None:
        empty = Figures(recipe.name, None, None, device, None, (), None, None, None, served)
        return None if served is None else empty
    needs = memory(training, device or 0)
    batch, changes = None, list[Change]()
    if device is not None:
        batch = fitting.largest_batch(training, device)
        changes = fitting.changes(training, device) if needs.high > device else []
    todo = compute.todo(recipe, training, amount)
    return Figures(
        recipe=recipe.name,
        setting=training,
        memory=needs,
        device=device,
        batch=batch,
        changes=tuple(changes),
        storage=storage.storage(recipe, training, needs.host),
        cost=None if todo is None else compute.cost(training, todo, hardware, preset),
        work=todo,
        serving=served,
    )


# -- for people --


def lines(found: Figures, everything: bool = False) -> Iterator[tuple[str, str]]:
    """What is said of, and what is said; of the moments of a step the peak alone, or everything."""
    training = found.setting
    if training is not None and found.memory is not None and found.storage is not None:
        yield "parameters", _parameters(training)
        yield from _memory(found, found.memory, everything)
        kept = found.storage
        yield (
            "disk",
            (
                f"{_gib(kept.disk)}: {kept.checkpoints} checkpoints of {_gib(kept.checkpoint)}, "
                f"the exported model {_gib(kept.exported)}"
            ),
        )
        yield "host memory", f"about {_gib(kept.host)} of each node"
        yield from _cost(found)
    if found.serving is not None:
        yield from _serving(found.serving)


def _parameters(training: Setting) -> str:
    total, trained = states.numbers(training), states.trained(training)
    said = f"{_count(total)}, {_count(trained)} trained ({trained / total:.2%})"
    return said + (f", {_count(counting.active(training.shape))} for each token" if training.shape.experts else "")


def _memory(found: Figures, needs: Memory, everything: bool) -> Iterator[tuple[str, str]]:
    of = "" if found.device is None else f" of {_gib(found.device)}"
    yield "memory of a device", f"{_gib(needs.low)} to {_gib(needs.high)}{of}, rows being as long as they may be"
    for moment in needs.moments if everything else (needs.peak,):
        terms = ", ".join(f"{name} {_gib(size)}" for name, size in sorted(moment.terms.items(), key=lambda t: -t[1]))
        yield ("  peak: " if moment is needs.peak else "  ") + moment.name, f"{_gib(moment.bytes)}: {terms}"
    if found.batch is not None:
        yield "largest batch", f"{found.batch} rows of a forward pass" if found.batch else "not even one row fits"
    for change in found.changes:
        yield "would fit with", f"{change.what}: {_gib(change.needs)} ({change.price})"


def _cost(found: Figures) -> Iterator[tuple[str, str]]:
    training = found.setting
    assert training is not None
    if found.cost is None or found.work is None:
        each = compute.flops_per_token(training)
        yield "arithmetic", f"{each / BILLION:,.1f} GFLOP for each token; hours follow from the number of steps"
        return
    told = "" if found.work.known else ", judged by the size of files"
    yield "tokens", f"{_range(found.work.tokens, 1e6)} million, in {_whole(found.work.steps)} steps{told}"
    yield "arithmetic", f"{_range(found.cost.flops, 1e15)} PFLOP"
    if found.cost.hours is not None:
        yield "hours", _range(found.cost.hours)
    if found.cost.price is not None:
        yield "price", f"{_range(found.cost.price)} {found.cost.currency}".strip()
    if found.cost.kilograms is not None:
        yield "carbon dioxide", f"{_range(found.cost.kilograms)} kg"


def _serving(served: Serving) -> Iterator[tuple[str, str]]:
    low, high = served.tokens
    yield "serving", f"weights {_gib(served.weights)} of each device, {served.token / 1024:,.0f} KiB for each token"
    yield "  tokens in memory", f"{low:,} to {high:,}"
    places = served.concurrency
    yield "  at once", f"{places[0]:.1f} to {places[1]:.1f} requests of {served.length:,} tokens"
    if served.tokens_per_second[1]:
        alone, together = served.tokens_per_second
        yield "  tokens a second", f"at most {alone:,.0f} for one request, {together:,.0f} for all that fit"
    if served.price_per_million is not None:
        best, worst = served.price_per_million
        yield "  price", f"{best:,.2f} for a million tokens when it is full, {worst:,.2f} at a tenth of that"
    if served.break_even is not None:
        yield "  cheaper than the API", f"from {served.break_even / 1e6:,.0f} million tokens a month"


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= 0.05 * GIB else f"{size / 2**20:,.1f} MiB"


def _count(number: float) -> str:
    return f"{number / BILLION:,.2f} billion" if number >= BILLION else f"{number / 1e6:,.2f} million"


def _range(values: Range, unit: float = 1.0) -> str:
    low, high = (value / unit for value in values)
    shown = [f"{value:,.0f}" if high >= 100 else f"{value:,.2f}" for value in (low, high)]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} to {shown[1]}"


def _whole(values: Range) -> str:
    low, high = (f"{value:,.0f}" for value in values)
    return low if low == high else f"{low} to {high}"


# -- for programs --


def as_json(found: Figures) -> dict[str, object]:
    """The figures in bytes, tokens, hours and prices; ranges are `[least, most]`."""
    training, needs, kept, cost, served = found.setting, found.memory, found.storage, found.cost, found.serving
    told: dict[str, object] = {"recipe": found.recipe}
    if training is not None and needs is not None and kept is not None:
        told["parameters"] = {
            "total": states.numbers(training),
            "trained": states.trained(training),
            "active": counting.active(training.shape),
        }
        told["memory"] = {
            "low": round(needs.low),
            "high": round(needs.high),
            "device": None if found.device is None else round(found.device),
            "peak": needs.peak.name,
            "moments": {m.name: {name: round(size) for name, size in m.terms.items()} for m in needs.moments},
            "largest_batch": found.batch,
            "would_fit_with": [{"change": c.what, "high": round(c.needs)} for c in found.changes],
        }
        told["disk"] = {"checkpoint": round(kept.checkpoint), "exported": round(kept.exported), "all": round(kept.disk)}
        told["host_memory"] = round(kept.host)
        told["flops_per_token"] = compute.flops_per_token(training)
    if cost is not None and found.work is not None:
        ranges = {
            "steps": found.work.steps,
            "tokens": found.work.tokens,
            "flops": cost.flops,
            "hours": cost.hours,
            "price": cost.price,
            "kilograms_of_carbon_dioxide": cost.kilograms,
        }
        told["cost"] = {name: None if values is None else list(values) for name, values in ranges.items()}
    if served is not None:
        told["serving"] = {
            "weights": round(served.weights),
            "bytes_per_token": round(served.token),
            "tokens": list(served.tokens),
            "concurrency": list(served.concurrency),
            "tokens_per_second": list(served.tokens_per_second),
            "price_per_million_tokens": None if served.price_per_million is None else list(served.price_per_million),
            "break_even_tokens_per_month": served.break_even,
        }
    return told
