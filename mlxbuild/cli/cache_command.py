"""`mlxbuild cache`: shows what the store and the cache hold."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.freeing import advice
from mlxbuild.cli.output import say_json, say_table
from mlxbuild.cli.workspace import open_store, tell
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.reachability import Reachability
from mlxbuild.toolchain.cache.retention import retention
from mlxbuild.toolchain.cache.traces import TraceStore

app = typer.Typer(
    help="Show what the store and the cache hold.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@app.callback()
def _cache() -> None:
    """Show what the store and the cache hold."""


@app.command("du", cls=Command, epilog="mlxbuild cache du")
def disk_usage(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show how much space artifacts, reusable results and everything else take."""
    with open_store() as store:
        rows = _usage(store)
        sentence = advice(store)
    if as_json:
        say_json([{"what": what, "items": items, "bytes": size} for what, items, size in rows])
        return
    say_table(("WHAT", "ITEMS", "SIZE"), [(what, str(items), format_bytes(size)) for what, items, size in rows])
    if sentence is not None:
        tell(sentence)


def _usage(store: Store) -> list[tuple[str, int, int]]:
    reach = Reachability(store)
    spared = retention(TraceStore(store.home).all())
    named = reach.needed()
    needed = reach.needed(spared.roots) | reach.below(root.digest for root in spared.soft_roots)
    cache = store.home.cache

    def row(what: str, digests: Collection[Digest]) -> tuple[str, int, int]:
        return what, len(digests), reach.size_bytes(digests)

    return [
        row("artifacts with a name", named),
        row("results that builds can reuse", needed - named),
        row("blobs that nothing needs", reach.blobs.keys() - needed),
        ("traces", *_files(cache / "traces")),
        ("quarantined as damaged", *_files(cache / "quarantine")),
        ("unfinished writes", *_files(cache / "tmp")),
        ("interrupted fetches", *_files(cache / "partial")),
        ("logs", *_files(store.home.logs)),
    ]


def _files(folder: Path) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)
