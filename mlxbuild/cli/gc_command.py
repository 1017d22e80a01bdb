"""`mlxbuild gc`: deletes blobs that nothing needs."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.quantities import format_bytes, format_seconds
from mlxbuild.registry.core.sizes import FORMS, size_bytes
from mlxbuild.registry.store.gc import GRACE_SECONDS, collect
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.cache.retention import retention
from mlxbuild.toolchain.cache.traces import TraceStore

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class InvalidSize(UserError):
    """A size is neither a number of bytes nor one with a unit."""

    code = "invalid-size"


@app.command(cls=Command, epilog=("mlxbuild gc --dry-run\nmlxbuild gc --budget 20GB"))
def collect_garbage(
    budget: Annotated[
        str, typer.Option(help="Keep weights that no name needs while the store is below this, such as `20GB`.")
    ] = "0",
    keep_cache: Annotated[bool, typer.Option("--keep-cache", help="Keep all reusable weights.")] = False,
    grace: Annotated[float, typer.Option(metavar="SECONDS", help="Keep blobs younger than this.")] = GRACE_SECONDS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove blobs that no name needs. Artifacts with names stay fully cached for the next build."""
    budget_bytes = size_bytes(budget)
    if budget_bytes is None:
        raise InvalidSize(f"`{budget}` is not a size", hint=f"write a number of bytes, or one with a unit: {FORMS}")
    store = Store.open(chosen_home())
    traces = TraceStore(store.home)
    spared = retention(traces.all())
    collection = collect(
        store,
        roots=[digest for digest in spared.roots if store.has(digest)],
        soft_roots=spared.soft_roots,
        budget_bytes=None if keep_cache else budget_bytes,
        grace_seconds=grace,
        dry_run=dry_run,
        waiting=tell,
    )
    for key in () if dry_run else spared.forgotten:
        traces.remove(key)
    if as_json:
        say_json(
            {
                "removed": [str(blob.digest) for blob in collection.removed],
                "freed_bytes": collection.freed_bytes,
                "kept_bytes": collection.kept_bytes,
                "dry_run": dry_run,
            }
        )
        return
    if grace:
        tell(f"blobs younger than {format_seconds(grace)} stay in any case; `--grace 0` removes them, too")
    would = "would free" if dry_run else "freed"
    say(
        f"{would} {format_bytes(collection.freed_bytes)} in {len(collection.removed)} blobs; "
        f"{format_bytes(collection.kept_bytes)} in {len(collection.kept)} blobs stay"
    )
