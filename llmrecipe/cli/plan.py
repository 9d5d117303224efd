"""`llmrecipe plan`: stages, what is cached, derived values, and what all of it takes."""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from typing import get_args

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from llmrecipe import trust
from llmrecipe.cli import code, figures, front, planning
from llmrecipe.cli.exported import refused
from llmrecipe.estimate.compute import Amount
from llmrecipe.lint.amounts import written
from llmrecipe.lint.rule import Case
from llmrecipe.lock import lock_file
from llmrecipe.methods import METHODS
from llmrecipe.plan import Plan, Stage, Train
from llmrecipe.store import RunError, Store

EXPERIMENTAL: dict[str, str] = {
    get_args(method.model_fields["kind"].annotation)[0]: method.experimental
    for method in METHODS
    if method.experimental is not None
}
"""Method -> why an upgrade may break it."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    front.add_recipe(parser)
    planning.add_store(parser)
    parser.add_argument("--format", choices=["text", "json"], default="text", help="json prints the plan itself")
    parser.add_argument(
        "--estimates", action="store_true", help="every figure; with json, the figures and not the plan"
    )
    parser.add_argument(
        "--trace", action="store_true", help="run a step over fake tensors, with PyTorch's memory tracker"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the plan of a recipe."""
    found = planning.understand(arguments)
    store = Store(planning.store_root(arguments, found.root))
    estimates = _estimates(found, store)
    if arguments.format == "json":
        figured: dict[str, object] = {"estimates": [figures.as_json(each) for each in estimates]}
        told = figured if arguments.estimates else found.plan.model_dump()
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 0
    if found.warnings:
        front.show(found.warnings, arguments.overrides)
    try:
        store.check()
    except RunError as error:
        return refused(error)
    _print(found.plan, store, pinned=lock_file(found.file).exists())
    _print_estimates(estimates, everything=arguments.estimates)
    return _trace(estimates) if arguments.trace else 0


def _estimates(found: planning.Planned, store: Store) -> list[figures.Figures]:
    recipes = {document.recipe.name: document.recipe for document in found.documents}
    told = list[figures.Figures]()
    for document in found.documents:
        amount = _counted(found.plan, store, document.recipe.name) or written(Case(document, recipes, locked=False))
        figured = figures.figures(document.recipe, recipes, amount)
        if figured is not None:
            told.append(figured)
    return told


def _counted(plan: Plan, store: Store, recipe: str) -> Amount | None:
    """What one epoch reads, where its rows are tokenized already."""
    for stage in plan.stages:
        if stage.name != f"{recipe}/tokenize":
            continue
        try:
            metrics = store.record(plan.addresses()[stage.name]).metrics
        except RunError:
            return None
        rows, tokens = metrics["train_sequences"], metrics["train_tokens"]
        return Amount((rows, rows), (tokens, tokens), counted=True)
    return None


def _print_estimates(estimates: Sequence[figures.Figures], everything: bool) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    for found in estimates:
        console.print(f"\n[bold]estimates of {found.recipe}[/bold]")
        rows = Table(Column(no_wrap=True), "", box=None, show_header=False, pad_edge=False)
        for name, value in figures.lines(found, everything):
            rows.add_row(Text(name), Text(value))
        console.print(rows)


def _trace(estimates: Sequence[figures.Figures]) -> int:
    """Traced beside estimated peaks. The tracer needs the training stack, which no other part of this command does."""
    try:
        tracer = importlib.import_module("llmrecipe.preflight.trace")
    except ImportError as error:
        return refused(RunError(f"--trace needs the training stack: {error}", "pip install 'llmrecipe[train]'"))
    print("\ntraced peaks of the second step, without context and fragments")
    for found in estimates:
        if found.setting is None or found.memory is None:
            continue
        try:
            traced = tracer.trace(found.setting)
        except tracer.TraceError as error:
            print(f"  {found.recipe}: {error}")
            continue
        ours = max(m.bytes for m in found.memory.moments if m.name != "generation")
        print(
            f"  {found.recipe}: {traced.peak / figures.GIB:.2f} GiB (loss {traced.loss / figures.GIB:.2f}, backward "
            f"{traced.backward / figures.GIB:.2f}, step {traced.step / figures.GIB:.2f}); estimated "
            f"{ours / figures.GIB:.2f} GiB, {ours / traced.peak - 1:+.1%}"
        )
    return 0


def _print(plan: Plan, store: Store, pinned: bool) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    addresses = plan.addresses()
    table = Table("stage", "what", "address", "", box=None, header_style="bold", pad_edge=False)
    for stage in plan.stages:
        done = store.has(addresses[stage.name])
        table.add_row(stage.name, what(stage), addresses[stage.name][:12], "cached" if done else "to do")
    console.print(table)
    for service in plan.services:
        console.print(f"\nserves {service.model} with {service.engine} as `{service.served_model_name}`")
    if plan.derived:
        console.print("\n[bold]derived values[/bold]")
        rows = Table(Column(no_wrap=True), "", "", box=None, show_header=False, pad_edge=False)
        for value in plan.derived:
            rows.add_row(f"{value.recipe}: {value.field}", json.dumps(value.value), f"({value.because})")
        console.print(rows)
    trusted = trust.trusted()
    for function in code.functions(plan):
        console.print(f"\nruns code: {code.told(function, trusted)}", markup=False)
    for kind, why in EXPERIMENTAL.items():
        if any(isinstance(stage.spec, Train) and stage.spec.method == kind for stage in plan.stages):
            console.print(f"\nexperimental: `{kind}`: {why}", markup=False)
    for name in plan.unpinned:
        console.print(f"\nnot pinned: {name}; `llmrecipe lock` pins it", markup=False)
    if not pinned:
        console.print(
            "\nno lock: hashes and versions are those of now; `llmrecipe lock` writes them down", markup=False
        )


def what(stage: Stage) -> str:
    """One line about a stage."""
    if not isinstance(stage.spec, Train):
        return stage.spec.kind.replace("_", " ")
    length = stage.spec.arguments.get("max_steps")
    epochs = stage.spec.arguments.get("num_train_epochs")
    run = f"{length} steps" if length is not None else f"{epochs:g} epochs"
    processes = f" on {stage.spec.world_size} processes" if stage.spec.world_size > 1 else ""
    return f"{stage.spec.method}, {stage.spec.adapter.kind}, {run}{processes}"
