"""Reads archives and image layouts, and copies their blobs into a staging store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mlxbuild.registry.artifact.manifest import MANIFEST_LIMIT_BYTES, InvalidManifest, json_object
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import LAYOUT_FILE, LAYOUT_VERSION, Store
from mlxbuild.toolchain.interchange import tar_stream
from mlxbuild.toolchain.interchange.errors import BrokenArchive, NotImportable

INDEX_FILE = "index.json"
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")

Entry = dict[str, Any]
Bring = Callable[[Blob], None]
"""Copies one blob into the staging store and verifies it; raises `BrokenArchive` or a store's error."""


def from_archive(stream: BinaryIO, staging: Store, where: str) -> tuple[list[Entry], Bring]:
    """Read a whole archive into the staging store. Returns its index entries, and a function that brings their blobs.

    Raises:
        UnsafePath, BrokenArchive: it is damaged or malicious.
        BlobCorrupt: a blob does not match its digest.
        DiskFull, StoreFailure: a blob cannot be stored.
    """
    small: dict[str, bytes] = {}
    for path, size_bytes, pieces in tar_stream.files(stream, where):
        if (match := _BLOB.fullmatch(path)) is not None:
            _keep(pieces, Digest("sha256", match[1]), staging)
        elif path in (INDEX_FILE, LAYOUT_FILE, "manifest.json"):
            small[path] = _small(pieces, size_bytes, path, where)
    if INDEX_FILE not in small or LAYOUT_FILE not in small:
        docker = "manifest.json" in small
        raise NotImportable(
            "it is an archive of Docker's own form" if docker else f"it has no {LAYOUT_FILE} and {INDEX_FILE}",
            where=where,
            hint="write an OCI archive: `skopeo copy docker-archive:FILE oci-archive:NEW`"
            if docker
            else "`mlxbuild pack` and `skopeo copy … oci-archive:FILE` write OCI archives",
        )

    def bring(blob: Blob) -> None:
        if not staging.has(blob.digest):
            raise BrokenArchive(f"it does not hold {blob.digest}, which it names", where=where)

    return _entries(small[LAYOUT_FILE], small[INDEX_FILE], where), bring


def from_layout(folder: Path, staging: Store) -> tuple[list[Entry], Bring]:
    """Open an image layout. Blobs are copied into the staging store on request.

    Raises:
        BrokenArchive: its index cannot be read.
        OSError: a file cannot be read.
    """
    where = str(folder)

    def bring(blob: Blob) -> None:
        path = folder / "blobs" / blob.digest.algorithm / blob.digest.hex
        if staging.has(blob.digest):
            return
        if not path.is_file():
            raise BrokenArchive(f"it does not hold {blob.digest}, which it names", where=where)
        with path.open("rb", buffering=0) as file:
            _keep(iter(lambda: file.read(tar_stream.PIECE_BYTES), b""), blob.digest, staging)

    contents = []
    for name in (LAYOUT_FILE, INDEX_FILE):
        with (folder / name).open("rb") as file:
            contents.append(file.read(MANIFEST_LIMIT_BYTES + 1))
    return _entries(contents[0], contents[1], where), bring


def _keep(pieces: Iterable[bytes], digest: Digest, staging: Store) -> None:
    with staging.writer() as writer:
        for piece in pieces:
            writer.write(piece)
        writer.commit(digest)


def _small(pieces: Iterator[bytes], size_bytes: int, path: str, where: str) -> bytes:
    if size_bytes > MANIFEST_LIMIT_BYTES:
        raise BrokenArchive(f"`{path}` has {size_bytes} bytes", where=where)
    return b"".join(pieces)


def _entries(layout: bytes, index: bytes, where: str) -> list[Entry]:
    version = _object(layout, LAYOUT_FILE, where).get("imageLayoutVersion")
    if version != LAYOUT_VERSION:
        raise BrokenArchive(f"its image layout has the version {version}, not {LAYOUT_VERSION}", where=where)
    entries = _object(index, INDEX_FILE, where).get("manifests")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BrokenArchive(f"{INDEX_FILE} has no list of manifests", where=where)
    return entries


def _object(data: bytes, name: str, where: str) -> dict[str, Any]:
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise BrokenArchive(f"{name} has more than {MANIFEST_LIMIT_BYTES} bytes", where=where)
    try:
        return json_object(data, where)
    except InvalidManifest as error:
        raise BrokenArchive(f"{name} cannot be read: {error.message}", where=where) from error
