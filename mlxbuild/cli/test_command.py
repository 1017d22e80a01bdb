"""`mlxbuild test`: runs the gates of an artifact again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.workspace import find, open_store, tell
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.suggestions import did_you_mean
from mlxbuild.registry.trust.policy import admit
from mlxbuild.runtime.model.blas import prefer_openblas
from mlxbuild.toolchain.cache.history import History
from mlxbuild.toolchain.gates.result import GateFailed
from mlxbuild.toolchain.gates.run import run_gate
from mlxbuild.toolchain.rebuild import base_perplexity, carried_spec
from mlxbuild.toolchain.spec.discovery import RECIPE_NAME
from mlxbuild.toolchain.steps.gate import ONE_MODEL

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class UnknownGate(UserError):
    """An artifact has no gates, or none of that name."""

    code = "unknown-gate"


@app.command(cls=Command, epilog=("mlxbuild test hello:int4\nmlxbuild test hello:int4 --gate perplexity"))
def run_gates(
    name: Annotated[str, typer.Argument(help="Name or digest of an artifact.")],
    gate: Annotated[list[str] | None, typer.Option(help="Only the gate of this name; may be repeated.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="Its recipe, to find its base.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the gates of an artifact on this machine, whatever their earlier results. Exits with 4 if one fails."""
    with open_store() as store:
        reference, digest = find(store, name)
        admit(store, reference, digest, tell=tell)
        artifact = Artifact.open(store, digest)
        recipe = (file or History(store.home).recipe_of(digest) or Path(RECIPE_NAME)).absolute()
        known = carried_spec(artifact, recipe).gates
        unknown = set(gate or ()) - {each.name for each in known}
        gates = [each for each in known if not gate or each.name in gate]
        if unknown or not gates:
            missing = min(unknown, default="")
            raise UnknownGate(
                f"the artifact has no gate `{missing}`" if missing else "the artifact has no gates",
                where=name,
                hint=did_you_mean(missing, [each.name for each in known])
                or "gates are the `tests` of its recipe: `mlxbuild show --recipe` prints them",
            )
        prefer_openblas()  # before anything loads MLX

        results = []
        for each in gates:
            result = run_gate(
                each,
                artifact,
                store,
                load=lambda: ONE_MODEL.get(store, digest),
                base_perplexity=lambda text: base_perplexity(artifact, recipe, text),
            )
            results.append(result)
            if not as_json:
                say(f"{'pass' if result.passed else 'FAIL'}  {each.name}  {result.message}")
    if as_json:
        say_json([result.to_json() for result in results])
    if not all(result.passed for result in results):
        raise GateFailed(results, where=name)
