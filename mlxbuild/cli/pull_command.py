"""`mlxbuild pull`: pulls an artifact from a registry into the store."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.other_hubs import hint_for_hub, refuse_other_hubs
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.transfer_display import Jobs, TransferProgress, shown
from mlxbuild.cli.workspace import open_store, require_writable, tell
from mlxbuild.registry.core.quantities import format_bytes, format_seconds
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.oci.exchange.pull import pull
from mlxbuild.registry.oci.exchange.transfers import DEFAULT_JOBS
from mlxbuild.registry.oci.remote.errors import NoRegistry
from mlxbuild.registry.oci.remote.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild pull ghcr.io/acme/hello:int4@1.0")
def pull_artifact(
    name: Annotated[
        str, typer.Argument(help="host/name:tag or host/name@sha256:…; without a host from the default registry.")
    ],
    jobs: Jobs = DEFAULT_JOBS,
    progress: TransferProgress = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Pull an artifact and its referrers, verified while they stream. An interrupted pull is resumed.

    The trust policy of the home decides whether it has to be signed.
    """
    begun = time.perf_counter()
    refuse_other_hubs(name)
    try:
        reference = Reference.parse(name)
    except InvalidReference as error:
        error.hint = hint_for_hub(name) or error.hint  # the Hub's names may have capitals
        raise
    with open_store() as store, shown(progress) as observe:
        require_writable(store)
        try:
            pulled = pull(store, reference, settings=Settings.load(store.home), observe=observe, jobs=jobs)
        except NoRegistry as error:
            error.hint = "; ".join(filter(None, (error.hint, hint_for_hub(name))))
            raise
    if as_json:
        say_json(
            {
                "name": pulled.name,
                "digest": str(pulled.digest),
                "moved_bytes": pulled.amount.moved_bytes,
                "present_bytes": pulled.amount.present_bytes,
                "referrers": [str(digest) for digest in pulled.referrers],
            }
        )
        return
    say(f"{pulled.name} {pulled.digest}")
    seconds = format_seconds(time.perf_counter() - begun)
    moved, present = format_bytes(pulled.amount.moved_bytes), format_bytes(pulled.amount.present_bytes)
    tell(f"fetched {moved} in {seconds}; the store had {present}")
