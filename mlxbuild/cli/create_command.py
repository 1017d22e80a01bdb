"""`mlxbuild create`: builds recipes into artifacts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated

import typer

from mlxbuild.cli.build_table import BuildTable
from mlxbuild.cli.choices import UnknownChoice
from mlxbuild.cli.command import Command
from mlxbuild.cli.display import is_text, told_on
from mlxbuild.cli.modelfile import names_model, recipe_of
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.recipes import (
    Frozen,
    Locked,
    Portable,
    RecipeArguments,
    Recipes,
    Root,
    Variants,
    lock_mode,
    locked_variants,
    recipe_paths,
)
from mlxbuild.cli.workspace import open_store, require_writable, tell
from mlxbuild.configuration.ci import in_ci
from mlxbuild.registry.artifact.versions import set_tags
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.toolchain.core.steps import STEPS
from mlxbuild.toolchain.create import create
from mlxbuild.toolchain.events.journal import Journal, new_run_name
from mlxbuild.toolchain.events.model import Noted, Notice, Warned
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.options import BuildOptions
from mlxbuild.toolchain.prepare import LockMode
from mlxbuild.toolchain.publish import Built

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def _listed(words: Iterable[str]) -> str:
    """The words of a choice, as a sentence lists them."""
    *first, last = words
    return f"{', '.join(first)} or {last}"


class UnknownStep(UserError):
    """There is no step of that name."""

    code = "unknown-step"


class QuantizationOfRecipe(UserError):
    """`--quantize` was given for a recipe, which sets its quantization itself."""

    code = "quantization-of-recipe"


@app.command(
    cls=Command,
    epilog=(
        "mlxbuild create\nmlxbuild create -k recipes\nmlxbuild create --variant int4 --cache-from ghcr.io/acme/cache\n"
        "mlxbuild create brief -f Modelfile\nmlxbuild create smol -f smol.gguf"
    ),
)
def create_artifacts(
    recipes: RecipeArguments = None,
    file: Recipes = None,
    variant: Variants = None,
    quantize: Annotated[
        str | None,
        typer.Option(
            "-q", "--quantize", metavar="NAME", help="Quantize a Modelfile's model, such as q4_K_M, q8_0 or int4."
        ),
    ] = None,
    locked: Locked = False,
    frozen: Frozen = False,
    portable: Portable = False,
    root: Root = None,
    jobs: Annotated[int | None, typer.Option("-j", "--jobs", min=1, help="Concurrent actions. Default: cores.")] = None,
    executor: Annotated[
        str, typer.Option(metavar="inline|process", help="Run actions in threads or in child processes.")
    ] = "inline",
    keep_going: Annotated[
        bool,
        typer.Option("-k", "--keep-going", help="Continue with independent actions after a failure."),
    ] = False,
    refresh: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP", help=f"Run this kind of step even if it is cached: {_listed(STEPS)}; may be repeated."
        ),
    ] = None,
    gates: Annotated[bool, typer.Option("--gates/--no-gates", help="Skip the gates; no tag is moved then.")] = True,
    expect_cached: Annotated[bool, typer.Option("--expect-cached", help="Fail if any action had to run.")] = False,
    shuffle: Annotated[int | None, typer.Option(help="Shuffle ready actions by this seed.", hidden=True)] = None,
    cache_from: Annotated[str | None, typer.Option(metavar="REPO", help="Read results from this remote cache.")] = None,
    cache_to: Annotated[str | None, typer.Option(metavar="REPO", help="Write results to this remote cache.")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="In CI, move even tags that contain a version and name another artifact."),
    ] = False,
    progress: Annotated[
        str, typer.Option(metavar="auto|live|plain|github|json|none", help="How to show progress.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build all variants, run their gates, and print `name:variant@version digest` for each.

    `mlxbuild create NAME -f FILE` builds a Modelfile of Ollama, a GGUF file or a model folder into one artifact of that
    name.
    """
    unknown = set(refresh or ()) - STEPS.keys()
    if unknown:
        raise UnknownStep(f"there is no step `{min(unknown)}`", hint=f"steps are {', '.join(STEPS)}")
    if executor not in ("inline", "process"):
        raise UnknownChoice(f"there is no executor `{executor}`", hint="executors are inline and process")
    options = BuildOptions(
        jobs=jobs,
        executor="process" if executor == "process" else "inline",
        keep_going=keep_going,
        refresh=frozenset(refresh or ()),
        gates=gates,
        force=force,
        expect_cached=expect_cached,
        shuffle=shuffle,
        cache_from=cache_from,
        cache_to=cache_to,
        in_ci=in_ci(),
    )
    run = new_run_name()
    name = Reference.parse(str(recipes[0])) if recipes and names_model(recipes, file) else None
    if quantize is not None and name is None:
        raise QuantizationOfRecipe("recipes say themselves how to quantize", hint="write `quantization` in the recipe")
    with ExitStack() as stack:
        display = stack.enter_context(told_on(progress))
        store = stack.enter_context(open_store(waiting=lambda told: display.handle(Noted(told))))
        require_writable(store)
        if name is None or not file:
            paths, mode = recipe_paths(recipes, file), lock_mode(locked=locked, frozen=frozen)
        else:
            paths, mode = (stack.enter_context(recipe_of(file[0], name, store, quantize=quantize)),), LockMode.UPDATE
            options = replace(options, gates=False)
        notice = display.handle if name is None else _ignore_locks(display.handle)
        variants = locked_variants(paths, variant, store, mode, portable=portable, root=root, notice=notice)
        table = BuildTable()
        stream = EventStream([display, Journal(store.home, run), table])
        try:
            report = create(variants, store, stream, run=run, command=tuple(sys.argv[1:]), options=options)
        finally:
            stream.close()
        if is_text(display):
            table.show(report.artifacts, store)
        if name is not None and (digest := report.artifacts[0].digest) is not None and not report.exit_code:
            set_tags(store, {name.store_name: digest}, lambda move: tell(f"warning: {move}"))
            report = replace(report, artifacts=(Built(name.store_name, digest, (name.store_name,)),))
    if as_json:
        say_json(
            {
                "run": run,
                "artifacts": [
                    {
                        "name": built.label,
                        "digest": str(built.digest) if built.digest else None,
                        "tags": list(built.tags),
                        "failed_gates": [verdict.name for verdict in built.verdicts if not verdict.passed],
                    }
                    for built in report.artifacts
                ],
                "outcomes": report.outcomes,
                "exit_code": report.exit_code,
            }
        )
    else:
        for built in report.artifacts:
            if built.digest is not None and built.untagged is None:
                say(f"{built.label} {built.digest}")
        if not gates:
            tell("no tag was moved, because no gates ran")
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _ignore_locks(notice: Callable[[Notice], None]) -> Callable[[Notice], None]:
    """Drop notices about the lock, which is temporary for a Modelfile; keep warnings."""
    return lambda each: notice(each) if isinstance(each, Warned) else None
