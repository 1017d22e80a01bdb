"""`mlxbuild gc`: free what nothing needs."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.workspace import tell
from registry.errors import UserError
from registry.home import Home
from registry.quantities import format_bytes, format_seconds
from registry.store.gc import GRACE_SECONDS, collect
from registry.store.layout import Store
from toolchain.cache.retention import retention
from toolchain.cache.traces import TraceStore

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?")
_UNITS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@app.command()
def collect_garbage(
    budget: Annotated[
        str, typer.Option(help="Keep weights that no name needs while the store is below this, such as `20GB`.")
    ] = "0",
    keep_cache: Annotated[bool, typer.Option("--keep-cache", help="Keep all of them.")] = False,
    grace: Annotated[float, typer.Option(help="Keep blobs younger than this many seconds.")] = GRACE_SECONDS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove blobs that no name needs. What still has a name stays fully cached for the next build."""
    store = Store.open(Home.from_environment())
    traces = TraceStore(store.home)
    spared = retention(traces.all())
    collection = collect(
        store,
        roots=[digest for digest in spared.roots if store.has(digest)],
        soft_roots=spared.soft_roots,
        budget_bytes=None if keep_cache else size_bytes(budget),
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
        tell(f"blobs younger than {format_seconds(grace)} stay in any case; `--grace 0` lets them go, too")
    would = "would free" if dry_run else "freed"
    say(
        f"{would} {format_bytes(collection.freed_bytes)} in {len(collection.removed)} blobs; "
        f"{format_bytes(collection.kept_bytes)} in {len(collection.kept)} blobs stay"
    )


def size_bytes(text: str) -> int:
    """Read `20GB`, `1.5GiB` or plain bytes.

    Raises:
        UserError: the text is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UserError(f"`{text}` is no size", hint="write it like 20GB, 1.5GiB or 1000000")
    return int(float(match[1]) * _UNITS[match[2] or "B"])
