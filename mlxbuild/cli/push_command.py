"""`mlxbuild push`: pushes artifacts of the store to a registry."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.transfer_display import Jobs, TransferProgress, shown
from mlxbuild.cli.workspace import find, open_store, tell
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.quantities import format_bytes, format_seconds
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.destination import destination, destinations_of_variants, of_other_versions
from mlxbuild.registry.oci.exchange.push import Pushed, push
from mlxbuild.registry.oci.exchange.transfers import DEFAULT_JOBS
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.spec.canonical import BrokenSpec
from mlxbuild.toolchain.spec.resolved import FolderSource

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    cls=Command,
    epilog=(
        "mlxbuild push hello:int4@1.0 ghcr.io/acme/hello\n"
        "mlxbuild push hello ghcr.io/acme/hello --all-variants --sign acme"
    ),
)
def push_artifact(
    name: Annotated[str, typer.Argument(help="Name or digest of an artifact; with --all-variants a name alone.")],
    target: Annotated[
        str | None,
        typer.Argument(help="Target: host/name, with :tag if the tag should differ. Default: the default registry."),
    ] = None,
    all_variants: Annotated[
        bool, typer.Option("--all-variants", help="Push every variant of the version that `latest` has.")
    ] = False,
    short_tags: Annotated[
        bool, typer.Option("--short-tags", help="Also push the artifact's other tags in the store.")
    ] = False,
    sign: Annotated[
        str | None,
        typer.Option("--sign", metavar="KEY", help="Sign with this private key first, as `mlxbuild sign --key` does."),
    ] = None,
    mount_from: Annotated[
        list[str] | None,
        typer.Option("--mount-from", help="A repository of that registry that may hold blobs; may be repeated."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Move even tags that contain a version and name another artifact there.")
    ] = False,
    jobs: Jobs = DEFAULT_JOBS,
    progress: TransferProgress = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Push an artifact and its referrers. Blobs that the registry already has are not uploaded."""
    begun = time.perf_counter()
    pushed: list[Pushed] = []
    with open_store() as store, shown(progress) as observe:
        settings = Settings.load(store.home)
        goal = None if target is None else Reference.parse(target)
        if all_variants:
            planned = destinations_of_variants(store, Reference.parse(name), goal, short_tags=short_tags)
            if left_out := of_other_versions(store, Reference.parse(name).name):
                tell(f"left out, because they have another version than `{name}:latest`: {', '.join(left_out)}")
        else:
            planned = (destination(store, *find(store, name), goal, short_tags=short_tags),)
        if sign is not None:
            _sign(store, [each.digest for each in planned], sign)
        for each in planned:
            _warn_of_path(Artifact.open(store, each.digest))
        for each in planned:
            done = push(
                store,
                each.digest,
                each.repository,
                settings=settings,
                tags=each.tags,
                observe=observe,
                jobs=jobs,
                mount_from=mount_from or (),
                force=force,
            )
            pushed.append(done)
            if not as_json:
                for tag in done.tags:
                    say(f"{done.name}:{tag} {done.digest}")
                for line in _moves(done, each.others):
                    tell(line)
    if as_json:
        say_json([_described(done, each.others) for done, each in zip(pushed, planned, strict=True)])
        return
    moved = sum(done.amount.moved_bytes for done in pushed)
    held = sum(done.amount.present_bytes + done.amount.mounted_bytes for done in pushed)
    seconds = format_seconds(time.perf_counter() - begun)
    tell(f"uploaded {format_bytes(moved)} in {seconds}; the registry had {format_bytes(held)}")


def _warn_of_path(artifact: Artifact) -> None:
    """Warn if the recipe in the artifact contains a path of this machine, as recipes of earlier versions did: whoever
    pulls the artifact can read it."""
    from mlxbuild.toolchain.rebuild import RECIPE_FILE, carried_spec

    if artifact.file(RECIPE_FILE) is None:
        return
    try:
        base = carried_spec(artifact, Path()).base
    except (BrokenSpec, ValueError):
        return  # made by another version of mlxbuild; pushed unchanged
    if isinstance(base, FolderSource) and base.as_written.startswith("/"):
        tell(
            f"warning: the path `{base.as_written}` of the base is in the artifact and is published with it; "
            "build it again to leave it out"
        )


def _sign(store: Store, digests: Sequence[Digest], key: str) -> None:
    from mlxbuild.registry.trust.keys import locate, password_from_environment, read_private
    from mlxbuild.toolchain.evidence.signing import sign_artifact

    private = read_private(locate(store.home, key, ".key"), password_from_environment())
    for digest in digests:
        sign_artifact(Artifact.open(store, digest), private)


def _moves(pushed: Pushed, others: Sequence[str]) -> Iterator[str]:
    """What became of each tag of an artifact at the registry: moved, set already, or not pushed."""
    for tag, before in pushed.before.items():
        if before is not None:
            yield f"{tag} named it there already" if before == pushed.digest else f"{tag} moved there from {before}"
    if others:
        yield f"not pushed: {', '.join(others)}; --short-tags pushes the artifact's other tags, too"


def _described(pushed: Pushed, others: Sequence[str]) -> dict[str, object]:
    return {
        "name": pushed.name,
        "tags": list(pushed.tags),
        "before": {tag: str(digest) if digest else None for tag, digest in pushed.before.items()},
        "not_pushed": list(others),
        "digest": str(pushed.digest),
        "moved_bytes": pushed.amount.moved_bytes,
        "present_bytes": pushed.amount.present_bytes,
        "mounted_bytes": pushed.amount.mounted_bytes,
        "referrers": [str(digest) for digest in pushed.referrers],
    }
