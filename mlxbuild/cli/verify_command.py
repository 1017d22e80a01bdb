"""`mlxbuild verify`: verifies an artifact, and that its recipe reproduces it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.display import progress_sink
from mlxbuild.cli.locate import find_anywhere
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.workspace import open_store
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.quantities import format_bytes, format_seconds
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.trust.statement import PROVENANCE
from mlxbuild.toolchain.cache.history import History
from mlxbuild.toolchain.events.journal import new_run_name
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.evidence.provenance import is_ours
from mlxbuild.toolchain.rebuild import rebuild
from mlxbuild.toolchain.spec.discovery import RECIPE_NAME
from mlxbuild.toolchain.verification import verify_artifact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlxbuild.registry.trust.keys import PublicKey
    from mlxbuild.toolchain.against_source import SourceComparison
    from mlxbuild.toolchain.sources.hub import Hub

_BUILT = "recipe and lock agree"
_PACKED = "another tool packed it: there is no recipe and no lock to check"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    cls=Command,
    epilog=(
        "mlxbuild verify hello:int4\n"
        "mlxbuild verify hello:int4 --rebuild -f recipes/hello\n"
        "mlxbuild verify ghcr.io/acme/hello:int4@1.0 --key acme.pub"
    ),
)
def verify(
    name: Annotated[
        str, typer.Argument(help="Name or digest of an artifact, or the path of an OCI layout or archive of one.")
    ],
    again: Annotated[bool, typer.Option("--rebuild", help="Also build it again and compare the digests.")] = False,
    against_source: Annotated[
        bool,
        typer.Option("--against-source", help="Also compare every tensor with the GGUF file that it was built from."),
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", help="Its recipe, for --rebuild and --against-source."),
    ] = None,
    jobs: Annotated[int | None, typer.Option("-j", "--jobs", min=1, help="Number of blobs hashed at once.")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="Also require a signature by this public key; if repeated, one of them is enough."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use no network, not even for --rebuild and --against-source.")
    ] = False,
    progress: Annotated[
        str, typer.Option(metavar="auto|live|plain|github|json|none", help="How to show progress of --rebuild.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify every blob, the config, and that recipe, lock and files agree. Damaged blobs are quarantined.

    An artifact that another tool packed has no recipe and no lock, which is reported.

    An artifact that is not in the store is fetched from the registry in its name, and not kept. With a key, the
    artifact has to be signed, and its provenance has to agree with its recipe and lock.
    """
    begun = time.perf_counter()
    with open_store() as home_store, find_anywhere(home_store, name, offline=offline) as (store, digest):
        keys = _keys(home_store.home, key or ())
        verified = verify_artifact(store, digest, jobs=jobs)
        problems = verified.problems
        proven = _check_trust(store, digest, keys) if keys and not problems else None
        seconds = time.perf_counter() - begun
        hub = _hub(home_store, offline=offline) if against_source or again else None
        comparison = _compare(store, digest, file, hub) if against_source and not problems else None
        rebuilt = str(_rebuild(store, digest, file, progress, hub)) if again and not problems else None
    if as_json:
        told = {
            "digest": str(digest),
            "ok": not problems,
            "problems": list(problems),
            "built": verified.is_built,
            "rebuilt": rebuilt,
        }
        compared = {} if comparison is None else {"against_source": _comparison_document(comparison)}
        say_json(told | ({"proven": proven} if key else {}) | compared)
    elif not problems:
        say(
            f"{digest} is intact: {verified.checked_blobs} blobs, {format_bytes(verified.checked_bytes)} "
            f"in {format_seconds(seconds)}; "
            + (
                "recipe and lock agree"
                if verified.is_built
                else "another tool packed it: there is no recipe and no lock to check"
            )
        )
        for kind, signer in (proven or {}).items():
            say(f"{kind} by {signer}")
        if comparison is not None:
            say(_comparison_told(comparison))
        if rebuilt:
            say(f"{rebuilt} was built again from recipe and lock")
    verified.require(name)


def _keys(home: Home, names: Sequence[str]) -> list[PublicKey]:
    if not names:
        return []
    from mlxbuild.registry.trust.keys import locate, read_public  # loaded only for signatures

    return [read_public(locate(home, name, ".pub")) for name in names]


def _check_trust(store: Store, digest: Digest, keys: list[PublicKey]) -> dict[str, str]:
    """The verified statements, each with the fingerprint of the key that signed it."""
    from mlxbuild.toolchain.evidence.signing import check_evidence

    evidence = check_evidence(Artifact.open(store, digest), keys)
    proven = {}
    for each in evidence.attestations:
        if each.problem is None and each.signer is not None and each.statement is not None:
            foreign = each.predicate_type == PROVENANCE and not is_ours(each.statement.predicate)
            kind = "provenance of another build system (not checked)" if foreign else each.kind
            proven[kind] = str(each.signer.fingerprint)
    return proven


def _hub(home_store: Store, *, offline: bool) -> Hub:
    from mlxbuild.toolchain.sources.hub import Hub

    return Hub.of(home_store.home, offline=offline)


def _compare(store: Store, digest: Digest, file: Path | None, hub: Hub | None) -> SourceComparison:
    from mlxbuild.toolchain.against_source import compare_with_source, require_as_claimed  # loads MLX

    comparison = compare_with_source(Artifact.open(store, digest), _recipe(store, digest, file), hub=hub)
    require_as_claimed(comparison)
    return comparison


def _comparison_told(comparison: SourceComparison) -> str:
    """One line for all tensors, grouped by kind, each with its largest difference."""
    kinds = [
        f"{count} {kind} (largest difference {comparison.largest(kind):.3g})"
        for kind, count in comparison.counts().items()
        if count
    ]
    return f"{len(comparison.tensors)} tensors compared with {comparison.file}: {', '.join(kinds)}"


def _comparison_document(comparison: SourceComparison) -> dict[str, object]:
    return {
        "file": comparison.file,
        "counts": dict(comparison.counts()),
        "largest_difference": {kind: comparison.largest(kind) for kind in comparison.counts()},
        "tensors": [
            {
                "name": tensor.name,
                "type": tensor.type,
                "accuracy": tensor.claimed,
                "largest_difference": tensor.largest_difference,
            }
            for tensor in comparison.tensors
        ],
    }


def _recipe(store: Store, digest: Digest, file: Path | None) -> Path:
    return (file or History(store.home).recipe_of(digest) or Path(RECIPE_NAME)).absolute()


def _rebuild(store: Store, digest: Digest, file: Path | None, progress: str, hub: Hub | None) -> Digest:
    stream = EventStream([progress_sink(progress)])
    try:
        return rebuild(Artifact.open(store, digest), _recipe(store, digest, file), stream, run=new_run_name(), hub=hub)
    finally:
        stream.close()
