"""Artifacts of image layouts and archives, whose blobs are verified while they are copied into a staging store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.manifest import MANIFEST_LIMIT_BYTES, InvalidManifest, Manifest, json_object, parse
from mlxbuild.registry.core.digest import Blob, Digest, InvalidDigest
from mlxbuild.registry.oci.remote.client import Advance
from mlxbuild.registry.oci.remote.referrers import LeaveOut
from mlxbuild.registry.store.layout import LAYOUT_FILE, LAYOUT_VERSION, Store
from mlxbuild.registry.store.tags import REF_NAME
from mlxbuild.toolchain.interchange import tar_stream
from mlxbuild.toolchain.interchange.errors import BrokenArchive, NotImportable

INDEX_FILE = "index.json"
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_MOST_MANIFESTS = 10_000


class LayoutSource:
    """The artifacts of a layout's index, and their referrers (see `ArtifactSource`)."""

    def __init__(self, layout: bytes, index: bytes, where: str, staging: Store, folder: Path | None = None) -> None:
        """Read all manifests that the index leads to into `staging`, the store that everything is fetched to.

        Blobs are taken from `folder`, unless the store holds them.

        Raises:
            NotImportable: there is no artifact among them.
            BrokenArchive, InvalidManifest, BlobCorrupt: they cannot be read.
        """
        self.where = where
        self._folder = folder
        self.artifacts: list[tuple[str | None, Manifest]] = []
        """Each with its name in the index."""
        self._referrers: dict[Digest, dict[Digest, tuple[Manifest, bytes]]] = {}
        budget = iter(range(_MOST_MANIFESTS))
        for entry in _entries(layout, index, where):
            for label, blob in self._listed(staging, entry, budget):
                data = staging.read(blob.digest, limit_bytes=MANIFEST_LIMIT_BYTES)
                manifest = parse(data, blob.digest)
                if manifest.subject is None:
                    self.artifacts.append((label, manifest))
                else:
                    self._referrers.setdefault(manifest.subject, {})[blob.digest] = manifest, data
        if not self.artifacts:
            raise NotImportable("it holds no artifact", where=where)

    def fetch(self, blob: Blob, store: Store, advance: Advance = lambda _count: None) -> int:
        """See `ArtifactSource`.

        Raises:
            BrokenArchive: it is not there, or has another size.
            BlobCorrupt: its bytes have another digest.
            DiskFull, StoreFailure: it cannot be stored.
        """
        is_new = not store.has(blob.digest)
        if is_new:
            path = self._folder and self._folder / "blobs" / blob.digest.algorithm / blob.digest.hex
            if path is None or not path.is_file():
                raise BrokenArchive(f"it does not hold {blob.digest}, which it names", where=self.where)
            with path.open("rb", buffering=0) as file:
                _keep(iter(lambda: file.read(tar_stream.PIECE_BYTES), b""), blob.digest, store, advance)
        if store.size(blob.digest) != blob.size_bytes:
            raise BrokenArchive(f"{blob.digest} is said to have {blob.size_bytes} bytes", where=self.where)
        return blob.size_bytes if is_new else 0

    def referrers(self, subject: Digest, leave_out: LeaveOut) -> Iterable[tuple[Manifest, bytes]]:
        """See `ArtifactSource`."""
        return self._referrers.get(subject, {}).values()

    def _listed(
        self, staging: Store, entry: Mapping[str, Any], budget: Iterator[int], depth: int = 0
    ) -> Iterator[tuple[str | None, Blob]]:
        """The manifests that an entry leads to: itself with its name, or those of a nested index. Each uses up
        `budget`."""
        if next(budget, None) is None:
            raise BrokenArchive(f"its indexes have more than {_MOST_MANIFESTS} entries", where=self.where)
        blob = _blob(entry, self.where)
        self.fetch(blob, staging)
        if entry.get("mediaType") not in media_types.INDEXES:
            annotations = entry.get("annotations")
            label = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
            yield label if isinstance(label, str) else None, blob
            return
        index = json_object(staging.read(blob.digest, limit_bytes=MANIFEST_LIMIT_BYTES), self.where)
        inner = index.get("manifests")
        if not isinstance(inner, list) or not all(isinstance(it, dict) for it in inner) or depth > 1:
            raise BrokenArchive("an index in it is not a list of manifests", where=self.where)
        for it in inner:
            yield from self._listed(staging, it, budget, depth + 1)


def from_archive(stream: BinaryIO, staging: Store, where: str) -> LayoutSource:
    """An archive, all of which is read into the staging store, from its beginning to its end.

    Raises:
        UnsafePath, BrokenArchive: it is damaged or malicious.
        NotImportable, InvalidManifest: see `LayoutSource`.
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
            "it is an archive in Docker's own format" if docker else f"it has no {LAYOUT_FILE} and {INDEX_FILE}",
            where=where,
            hint="write an OCI archive: `skopeo copy docker-archive:FILE oci-archive:NEW`"
            if docker
            else "`mlxbuild pack` and `skopeo copy … oci-archive:FILE` write OCI archives",
        )
    return LayoutSource(small[LAYOUT_FILE], small[INDEX_FILE], where, staging)


def from_layout(folder: Path, staging: Store) -> LayoutSource:
    """An image layout in a folder.

    Raises:
        NotImportable, BrokenArchive, InvalidManifest, BlobCorrupt: see `LayoutSource`.
        OSError: a file cannot be read.
    """
    contents = []
    for name in (LAYOUT_FILE, INDEX_FILE):
        with (folder / name).open("rb") as file:
            contents.append(file.read(MANIFEST_LIMIT_BYTES + 1))
    return LayoutSource(contents[0], contents[1], str(folder), staging, folder)


def _keep(pieces: Iterable[bytes], digest: Digest, staging: Store, advance: Advance = lambda _count: None) -> None:
    with staging.writer() as writer:
        for piece in pieces:
            writer.write(piece)
            advance(len(piece))
        writer.commit(digest)


def _small(pieces: Iterator[bytes], size_bytes: int, path: str, where: str) -> bytes:
    if size_bytes > MANIFEST_LIMIT_BYTES:
        raise BrokenArchive(f"`{path}` has {size_bytes} bytes", where=where)
    return b"".join(pieces)


def _entries(layout: bytes, index: bytes, where: str) -> list[dict[str, Any]]:
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


def _blob(entry: Mapping[str, Any], where: str) -> Blob:
    digest, size_bytes = entry.get("digest"), entry.get("size")
    if isinstance(digest, str) and isinstance(size_bytes, int):
        with suppress(InvalidDigest):
            return Blob(Digest.parse(digest), size_bytes)
    raise BrokenArchive("an entry of its index is not a descriptor", where=where)
