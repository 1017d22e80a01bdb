"""`mlxbuild export`: writes a plain model folder for mlx_lm, transformers and other uses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say
from mlxbuild.cli.workspace import find, open_store, tell
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.trust.policy import admit
from mlxbuild.runtime.model.files import DEFAULTS_FILE
from mlxbuild.toolchain.interchange.export import export

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild export hello:int4 ./hello")
def export_folder(
    name: Annotated[str, typer.Argument(help="Name or digest of an artifact.")],
    folder: Annotated[Path, typer.Argument(help="The target folder; created if missing.", metavar="DIR")],
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder with content; other weights in it are removed.")
    ] = False,
    copies: Annotated[bool, typer.Option("--copy", help="Copy weights too, instead of linking them.")] = False,
) -> None:
    """Write an artifact's files into a folder that `mlx_lm` and `transformers` open, every byte verified.

    Weights are hard links into the store where possible: do not change them, or use --copy.
    """
    with open_store() as store:
        reference, digest = find(store, name)
        admit(store, reference, digest, tell=tell)
        done = export(store, digest, folder, force=force, copies=copies)
        stays = _known_here_alone(Artifact.open(store, digest))
    shared = f", {done.linked} of them linked" if done.linked else ""
    say(f"{folder} {done.files} files{shared}, {format_bytes(done.size_bytes)}")
    if stays:
        tell(f"note: only mlxbuild applies {stays}, from `{DEFAULTS_FILE}`; tell other tools yourself")


def _known_here_alone(artifact: Artifact) -> str:
    """What the recipe says about requests and other tools do not read; empty if there is nothing."""
    defaults = artifact.read_object(DEFAULTS_FILE) if artifact.file(DEFAULTS_FILE) else {}
    parameters = ", ".join(sorted(defaults.get("parameters") or {}))
    parts = (
        "the system prompt" if defaults.get("system_prompt") else "",
        "the messages" if defaults.get("messages") else "",
        f"the defaults ({parameters})" if parameters else "",
    )
    return " and ".join(filter(None, parts))
