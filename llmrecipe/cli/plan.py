"""`llmrecipe plan`: stages, what is cached, derived values."""

import argparse
import json
import sys
from typing import get_args

from rich.console import Console
from rich.table import Column, Table

from llmrecipe import trust
from llmrecipe.cli import code, front, planning
from llmrecipe.cli.exported import refused
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


def run(arguments: argparse.Namespace) -> int:
    """Print the plan of a recipe."""
    found = planning.understand(arguments)
    if arguments.format == "json":
        print(json.dumps(found.plan.model_dump(), indent=2, ensure_ascii=False))
        return 0
    if found.warnings:
        front.show(found.warnings, arguments.overrides)
    store = Store(planning.store_root(arguments, found.root))
    try:
        store.check()
    except RunError as error:
        return refused(error)
    _print(found.plan, store, pinned=lock_file(found.file).exists())
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
