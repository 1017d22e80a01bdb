"""`mlxbuild plan`: shows what a build would do, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say, say_json, say_table
from mlxbuild.cli.recipes import (
    Frozen,
    Locked,
    Portable,
    RecipeArguments,
    Recipes,
    Variants,
    lock_mode,
    locked_variants,
    recipe_paths,
)
from mlxbuild.cli.workspace import open_store
from mlxbuild.registry.core.quantities import format_bytes, format_seconds
from mlxbuild.toolchain.cache.action_cache import ActionCache
from mlxbuild.toolchain.graph.compile import compile_graph
from mlxbuild.toolchain.graph.plan import Plan, Status, make_plan
from mlxbuild.toolchain.prepare import LockMode

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog=("mlxbuild plan\nmlxbuild plan --variant int4 --json"))
def plan(
    recipes: RecipeArguments = None,
    file: Recipes = None,
    variant: Variants = None,
    locked: Locked = False,
    frozen: Frozen = False,
    portable: Portable = False,
    everything: Annotated[bool, typer.Option("--all", help="Also list source files that nothing reads.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show for every action of a build whether it is a cache hit or why it would run, and the bytes to fetch.

    Nothing is written.
    """
    mode = lock_mode(locked=locked, frozen=frozen)
    with open_store() as store:
        draft = LockMode.DRAFT if mode is LockMode.UPDATE else mode
        variants = locked_variants(recipe_paths(recipes, file), variant, store, draft, portable=portable)
        graph, _ = compile_graph(variants)
        result = make_plan(graph, ActionCache(store))
    if as_json:
        say_json(_document(result))
        return
    rows = [
        (action.status.value, action.label, format_bytes(action.work_bytes) if action.work_bytes else "", action.reason)
        for action in result.actions
        if everything or action.status is not Status.UNNEEDED
    ]
    say_table(("STATUS", "ACTION", "READS", "WHY"), rows)
    say(_summary(result))


def _summary(plan: Plan) -> str:
    if plan.is_done:
        return f"nothing to do: {plan.count(Status.HIT)} actions are cached"
    parts = [f"{plan.count(Status.HIT)} cached", f"{plan.count(Status.RUN)} to run"]
    if plan.count(Status.UNKNOWN):
        parts.append(f"{plan.count(Status.UNKNOWN)} after those")
    if plan.fetch_bytes:
        parts.append(f"{format_bytes(plan.fetch_bytes)} to fetch or check")
    if plan.seconds:
        parts.append(f"about {format_seconds(plan.seconds)} of work, by the last time")
    return ", ".join(parts)


def _document(plan: Plan) -> dict[str, object]:
    return {
        "actions": [
            {
                "label": action.label,
                "step": action.step,
                "status": action.status.value,
                "reason": action.reason,
                "key": action.key,
                "bytes": action.work_bytes,
                "seconds": action.seconds,
            }
            for action in plan.actions
        ],
        "fetch_bytes": plan.fetch_bytes,
        "seconds": plan.seconds,
        "done": plan.is_done,
    }
