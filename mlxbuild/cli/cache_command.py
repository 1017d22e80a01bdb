"""`mlxbuild cache`: what the store and the cache hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.output import say, say_json, say_table
from mlxbuild.cli.workspace import open_store
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.digest import Blob
from mlxbuild.registry.errors import MlxbuildError
from mlxbuild.registry.quantities import format_bytes
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.cache.traces import TraceStore

app = typer.Typer(
    help="Look at what the store and the cache hold.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@app.callback()
def _cache() -> None:
    """Look at what the store and the cache hold."""


@app.command("du")
def disk_usage(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Tell how much space artifacts, reusable results and everything else take."""
    with open_store() as store:
        rows = _usage(store)
    if as_json:
        say_json([{"what": what, "items": items, "bytes": size} for what, items, size in rows])
        return
    say_table(("WHAT", "ITEMS", "SIZE"), [(what, str(items), format_bytes(size)) for what, items, size in rows])
    say("`mlxbuild gc --dry-run` tells what can be freed")


def _usage(store: Store) -> list[tuple[str, int, int]]:
    blobs = set(store.blobs())
    named = _named_blobs(store) & blobs
    reusable = {blob for trace, _ in TraceStore(store.home).all() for blob in trace.outputs.values()} & blobs - named
    rest = blobs - named - reusable
    cache = store.home.cache
    return [
        ("artifacts with a name", len(named), _total(named)),
        ("results that builds can reuse", len(reusable), _total(reusable)),
        ("blobs that nothing needs", len(rest), _total(rest)),
        ("traces", *_files(cache / "traces")),
        ("set aside as damaged", *_files(cache / "quarantine")),
        ("unfinished writes", *_files(cache / "tmp")),
        ("interrupted fetches", *_files(cache / "partial")),
        ("logs", *_files(store.home.logs)),
    ]


def _named_blobs(store: Store) -> set[Blob]:
    found: set[Blob] = set()
    for digest in {descriptor.digest for _, descriptor in store.tags.items()}:
        try:
            artifact = Artifact.open(store, digest)
        except MlxbuildError:
            continue
        found |= {artifact.manifest.blob, artifact.manifest.config.blob, *(file.blob for file in artifact.files)}
    return found


def _total(blobs: Iterable[Blob]) -> int:
    return sum(blob.size_bytes for blob in blobs)


def _files(folder: Path) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)
