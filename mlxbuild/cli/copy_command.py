"""`mlxbuild copy`: copies artifacts between registries."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.transfer_display import Jobs, TransferProgress, shown
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.quantities import format_bytes, format_seconds
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.copy import copy
from mlxbuild.registry.oci.exchange.transfers import DEFAULT_JOBS
from mlxbuild.registry.oci.remote.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild copy ghcr.io/acme/hello:int4@1.0 registry.example.com/team/hello")
def copy_artifact(
    source: Annotated[str, typer.Argument(help="The source: host/name, with :tag or @sha256:….")],
    target: Annotated[str, typer.Argument(help="The target: host/name, with :tag if the tag should differ.")],
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Another tag there; may be repeated.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move even tags that contain a version and name another artifact there.")
    ] = False,
    jobs: Jobs = DEFAULT_JOBS,
    progress: TransferProgress = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Copy an artifact and its referrers between registries; the store is not changed.

    Blobs are mounted if source and target are at the same registry, otherwise they are streamed.
    """
    begun = time.perf_counter()
    home = chosen_home()
    with shown(progress) as observe:
        copied = copy(
            Reference.parse(source),
            Reference.parse(target),
            settings=Settings.load(home),
            home=home,
            tags=tag or (),
            observe=observe,
            jobs=jobs,
            force=force,
        )
    if as_json:
        say_json(
            {
                "name": copied.name,
                "tags": list(copied.tags),
                "digest": str(copied.digest),
                "moved_bytes": copied.amount.moved_bytes,
                "present_bytes": copied.amount.present_bytes,
                "mounted_bytes": copied.amount.mounted_bytes,
                "referrers": [str(digest) for digest in copied.referrers],
            }
        )
        return
    for name in copied.tags:
        say(f"{copied.name}:{name} {copied.digest}")
    if not copied.tags:
        say(f"{copied.name}@{copied.digest}")
    held = copied.amount.present_bytes + copied.amount.mounted_bytes
    seconds = format_seconds(time.perf_counter() - begun)
    tell(f"copied {format_bytes(copied.amount.moved_bytes)} in {seconds}; the registry had {format_bytes(held)}")
