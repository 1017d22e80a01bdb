"""`mlxbuild pack`: writes an OCI archive, for a machine without network."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say
from mlxbuild.cli.workspace import find, open_store
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.interchange.archive import Packed, pack

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class ArchiveToTerminal(UserError):
    """The archive would be printed on a terminal."""

    code = "archive-to-terminal"


@app.command(cls=Command, epilog="mlxbuild pack hello:int4 -o hello.tar")
def pack_archive(
    name: Annotated[str, typer.Argument(help="Name or digest of an artifact.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The archive; `-` is stdout.")],
    referrers: Annotated[
        bool,
        typer.Option("--with-referrers/--without-referrers", help="Include signatures and other referrers."),
    ] = True,
) -> None:
    """Write an artifact as an OCI archive, which `mlxbuild import`, skopeo, podman and others can read.

    The same artifact always gives the same bytes. Every blob is verified while it is written.
    """
    with open_store() as store:
        reference, digest = find(store, name)
        if str(output) == "-":
            if sys.stdout.isatty():
                raise ArchiveToTerminal(
                    "an archive is binary, and is not printed on a terminal",
                    hint="name a file with `-o`, or pipe it: `| ssh …`",
                )
            pack(store, digest, _name(reference), sys.stdout.buffer, with_referrers=referrers)
            return
        packed = _write(store, reference, digest, output, referrers)
    also = f", {len(packed.referrers)} referrers" if packed.referrers else ""
    say(f"{output} {digest} {format_bytes(packed.blob_bytes)}{also}")


def _name(reference: Reference) -> str | None:
    return None if reference.tag is None and reference.digest is not None else reference.store_name


def _write(store: Store, reference: Reference, digest: Digest, output: Path, referrers: bool) -> Packed:
    """Write the archive atomically."""
    if output.exists() and not output.is_file():  # a device or pipe is written to directly
        with output.open("wb") as file:
            return pack(store, digest, _name(reference), file, with_referrers=referrers)
    draft = output.with_name(f".{output.name}.{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            packed = pack(store, digest, _name(reference), file, with_referrers=referrers)
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)
    return packed
