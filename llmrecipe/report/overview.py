"""What a run came to: its state, its stages and where they come from, the machine, and the recipe."""

import json
from collections.abc import Iterator

from llmrecipe.plan import Export
from llmrecipe.progress import duration
from llmrecipe.report.html import Html, element, empty, join, number, table
from llmrecipe.report.reading import Run, RunStage

STATES = {
    "complete": "Complete.",
    "running": "Not finished: it is running, or it was killed. This page shows what there is so far.",
    "failed": "Failed. This page shows what there is.",
    "interrupted": "Interrupted. `llmrecipe run` goes on from here; this page shows what there is so far.",
}
COLOURS = {"complete": "good", "failed": "bad"}


def head(run: Run) -> Iterator[Html]:
    """Name, state, and what failed."""
    summary = run.summary
    yield element("h1", summary.name)
    done = sum(stage.summary.status == "complete" for stage in run.stages)
    started = summary.started.replace("T", " ").replace("+00:00", " UTC")
    facts = f"{started} · {duration(summary.seconds)} · {done} of {len(run.stages)} stages complete"
    yield element("p", facts, class_="dim")
    lines = [element("p", element("b", STATES[summary.status]))]
    for stage in run.stages:
        if stage.summary.message:
            lines.append(element("p", element("b", stage.plan.name), ": ", stage.summary.message))
            lines += [element("pre", "\n".join(stage.summary.tail))] if stage.summary.tail else []
            lines += [element("p", "help: ", stage.summary.help)] if stage.summary.help else []
    yield element("div", *lines, class_=f"status {summary.status}")


def stages(run: Run) -> Iterator[Html]:
    """Every stage: what it is made from, how long it took, and the address of what it left."""
    rows = [[stage.plan.name, _from(stage), _state(stage), _took(stage), _address(stage)] for stage in run.stages]
    yield element("h2", "Stages and lineage")
    yield table(["stage", "made from", "state", "took", "address"], rows)


def _from(stage: RunStage) -> Html:
    origins = dict.fromkeys(reference.partition(".")[0] for reference in stage.plan.inputs.values())
    return join(*(part for name in origins for part in (name, empty("br"))))


def _state(stage: RunStage) -> Html:
    text = "cached" if stage.summary.cached else stage.summary.status
    return element("span", text, class_=COLOURS.get(stage.summary.status, "dim"))


def _took(stage: RunStage) -> str:
    return "–" if stage.summary.seconds is None else duration(stage.summary.seconds)


def _address(stage: RunStage) -> Html:
    return element("code", stage.summary.address)


def environment(run: Run) -> Iterator[Html]:
    """The machine, the packages, and what nothing pins."""
    yield element("h2", "Environment")
    rows = [
        [name, number(value) if isinstance(value, int) else value] for name, value in run.summary.environment.items()
    ]
    packages: dict[str, list[str]] = {}
    for stage in run.stages:
        for name, version in stage.summary.packages.items():
            if version and version not in packages.setdefault(name, []):
                packages[name].append(version)
    rows += [[name, ", ".join(versions)] for name, versions in sorted((packages or _planned(run)).items())]
    rows += [["not pinned", name] for name in run.summary.plan.unpinned]
    yield table(["", ""], rows)


def _planned(run: Run) -> dict[str, list[str]]:
    return {name: [version] for name, version in run.summary.plan.packages.items()}


def recipes(run: Run) -> Iterator[Html]:
    """Every recipe, and the values that it left to us."""
    yield element("h2", "Recipe")
    for stage in run.stages:
        if isinstance(stage.plan.spec, Export):
            opening = None if len(run.recipes) > 1 else "open"
            text = element("pre", stage.plan.spec.recipe)
            yield element("details", element("summary", stage.recipe), text, open=opening)
    derived = [
        [f"{value.recipe}: {value.field}", element("code", json.dumps(value.value)), value.because]
        for value in run.summary.plan.derived
        if value.recipe in run.recipes
    ]
    if derived:
        yield element("h3", "Derived values")
        yield table(["field", "value", "because"], derived)
