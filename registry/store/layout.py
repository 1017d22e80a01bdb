"""The store: an OCI image layout of blobs named by sha256. Tags and garbage collection live beside it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import EnvironmentFailure
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.durable import disk_errors, publish, replace_file, sync_folder
from mlxbuild.registry.store.errors import BlobCorrupt, BlobMissing, BlobTooLarge, StoreFailure
from mlxbuild.registry.store.tags import TagTable
from mlxbuild.registry.store.writer import BlobWriter, holds

__all__ = [
    "MANIFEST_LIMIT_BYTES",
    "READ_LIMIT_BYTES",
    "BlobCorrupt",
    "BlobMissing",
    "BlobTooLarge",
    "BlobWriter",
    "Store",
]

READ_LIMIT_BYTES = 64 * 1024 * 1024
MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024
"""The size limit of manifests and their configs (OCI distribution-spec 1.1, "Pushing Manifests")."""
LAYOUT_FILE = "oci-layout"
LAYOUT_VERSION = "1.0.0"

_BUFFER_BYTES = 256 * 1024  # read, then hashed, while it is still in the processor's cache
_HEX = re.compile(r"[0-9a-f]{64}")


class Store:
    """Blobs named by sha256, read-only once written, and tags. Safe for many threads and processes at once.

    Instances hold paths only: they may be pickled and shared.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.tags = TagTable(home)
        self._algorithms = f"{home.store}/blobs"
        self._blobs = Path(self._algorithms, "sha256")
        self._temporary = home.cache / "tmp"

    @classmethod
    def open(cls, home: Home, *, create: bool = True) -> Store:
        """The store of a home. An existing one is not written to.

        Raises:
            StoreFailure: there is none and `create` is false, or another version of the layout lies there.
            DiskFull, StoreReadOnly: it cannot be made.
        """
        store = cls(home)
        marker = home.store / LAYOUT_FILE
        try:
            with disk_errors(marker):
                layout = json.loads(marker.read_bytes())
        except StoreFailure as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            if not create:
                raise StoreFailure(
                    "there is no store",
                    where=str(home.store),
                    hint="check MLXBUILD_HOME, or build something first",
                ) from None
            store._create(marker)
            return store
        except (ValueError, RecursionError):
            layout = None
        version = layout.get("imageLayoutVersion") if isinstance(layout, dict) else None
        if version != LAYOUT_VERSION:
            raise StoreFailure(
                f"this is not an OCI image layout of version {LAYOUT_VERSION}",
                where=str(marker),
                hint="move the folder away, or point MLXBUILD_HOME elsewhere",
            )
        store._require_folder()
        return store

    def _require_folder(self) -> None:
        """Refuse a `blobs` that is not a folder, as every blob would seem to be missing; no `blobs` at all is fine."""
        with disk_errors(self._blobs), suppress(FileNotFoundError):
            if not stat.S_ISDIR(self._blobs.stat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def _create(self, marker: Path) -> None:
        with disk_errors(self.home.store):
            self._blobs.mkdir(parents=True, exist_ok=True)
        self.tags.create()
        # The marker is written last, so that a store with a marker is complete.
        content = json.dumps({"imageLayoutVersion": LAYOUT_VERSION}, separators=(",", ":")).encode()
        replace_file(marker, content, temporary_folder=self._temporary)

    def require_blobs(self) -> None:
        """Check that the blobs folder of a store in use still exists.

        Raises:
            StoreFailure: it does not.
        """
        if not self._blobs.is_dir():
            raise StoreFailure.gone(self._blobs)

    def has(self, digest: Digest) -> bool:
        """Whether the store holds a blob of that digest; its bytes are not checked."""
        return os.path.exists(self._location(digest))  # noqa: PTH110  # a quarter of the cost of Path.exists

    def size(self, digest: Digest) -> int:
        """The size of a blob in bytes.

        Raises:
            BlobMissing: the store does not hold it.
        """
        return self.status(digest).st_size

    def status(self, digest: Digest) -> os.stat_result:
        """The `stat` result of the blob's file.

        Raises:
            BlobMissing: the store does not hold it.
        """
        location = self._location(digest)
        try:
            with disk_errors(location):
                return os.stat(location)  # noqa: PTH116
        except StoreFailure as error:
            raise _missing_or(error, digest) from error.__cause__

    def check_size(self, blob: Blob) -> None:
        """Check that a blob's file has the right size; its bytes are not checked.

        Raises:
            BlobMissing: the store does not hold it.
            BlobCorrupt: it is shorter or longer.
        """
        if self.size(blob.digest) != blob.size_bytes:
            raise _corrupt(blob.digest, self._location(blob.digest))

    def path(self, digest: Digest) -> Path:
        """The path of the blob's read-only file.

        Raises:
            BlobMissing: the store does not hold it.
        """
        location = self._location(digest)
        if not os.path.exists(location):  # noqa: PTH110
            raise BlobMissing(digest)
        return Path(location)

    def read(self, digest: Digest, *, limit_bytes: int = READ_LIMIT_BYTES) -> bytes:
        """The verified bytes of a small blob.

        Raises:
            BlobMissing: the store does not hold it.
            BlobTooLarge: it has more than `limit_bytes`.
            BlobCorrupt: its bytes have another digest.
        """
        location = self._location(digest)
        try:
            with disk_errors(location), open(location, "rb", buffering=0) as file:  # noqa: PTH123
                size_bytes = os.fstat(file.fileno()).st_size
                if size_bytes > limit_bytes:
                    raise BlobTooLarge(f"{digest} has {size_bytes} bytes, more than {limit_bytes}", where=location)
                data = file.readall()
        except StoreFailure as error:
            raise _missing_or(error, digest) from error.__cause__
        if hashlib.sha256(data).hexdigest() != digest.hex:
            raise _corrupt(digest, location)
        return data

    def put(self, data: bytes, *, durable: bool = True) -> Blob:
        """Store some bytes as a blob. A blob that exists is not written again, unless it is damaged.

        Without `durable`, a power cut may lose or empty the blob (a killed process never does): use it only for
        content that is checked when read and can be made again, never for anything that a tag reaches.

        Raises:
            DiskFull, StoreReadOnly, StoreFailure: the store is unchanged.
        """
        blob = Blob(Digest.of_bytes(data), len(data))
        if self._holds(blob, data):
            return blob
        with self.writer(durable=durable) as writer:
            writer.write(data)
            return writer.commit()

    def put_all(self, *contents: bytes) -> tuple[Blob, ...]:
        """Store several small blobs as `put` does, with one sync of the folder for all of them.

        Raises:
            DiskFull, StoreReadOnly, StoreFailure: the blobs before the one that could not be written are stored.
        """
        blobs = tuple(Blob(Digest.of_bytes(data), len(data)) for data in contents)
        missing = {blob: data for blob, data in zip(blobs, contents, strict=True) if not self._holds(blob, data)}
        try:
            for data in missing.values():
                with BlobWriter(self._temporary, self._location, durable=True, syncs_name=False) as writer:
                    writer.write(data)
                    writer.commit()
        finally:
            if missing:
                with disk_errors(self._blobs):
                    sync_folder(self._blobs)
        return blobs

    def _holds(self, blob: Blob, data: bytes) -> bool:
        location = self._location(blob.digest)
        if not holds(location, blob.size_bytes):
            return False
        with disk_errors(location), open(location, "rb", buffering=0) as file:  # noqa: PTH123
            return file.readall() == data

    def writer(self, *, durable: bool = True) -> BlobWriter:
        """A writer for a blob of unknown digest; use it in a `with` statement."""
        return BlobWriter(self._temporary, self._location, durable=durable)

    def adopt(self, path: Path, blob: Blob) -> None:
        """Move a file on the same filesystem into the store; its size and digest were checked and it was synced.

        Raises:
            StoreReadOnly, StoreFailure: the file was not moved.
        """
        final = Path(self._location(blob.digest))
        with disk_errors(final):
            publish(path, final, durable=True)
            final.chmod(0o444)  # only now: a file that could not be moved stays writable

    def verify(self, digest: Digest, progress: Callable[[int], None] | None = None) -> None:
        """Hash a whole blob; `progress` gets the number of bytes of each piece. Releases the GIL.

        Raises:
            BlobMissing: the store does not hold it.
            BlobCorrupt: its bytes have another digest.
        """
        location = self._location(digest)
        hasher = hashlib.sha256()
        try:
            with disk_errors(location), open(location, "rb", buffering=0) as file:  # noqa: PTH123
                buffer = memoryview(bytearray(min(_BUFFER_BYTES, os.fstat(file.fileno()).st_size + 1)))
                while count := file.readinto(buffer):
                    hasher.update(buffer[:count])
                    if progress is not None:
                        progress(count)
        except StoreFailure as error:
            raise _missing_or(error, digest) from error.__cause__
        if hasher.hexdigest() != digest.hex:
            raise _corrupt(digest, location)

    def quarantine(self, digest: Digest) -> Path:
        """Move a damaged blob out of the store, so that it can be made again, and return its new path.

        Raises:
            BlobMissing: the store does not hold it.
            StoreReadOnly, StoreFailure: it cannot be moved.
        """
        target = self.home.cache / "quarantine" / f"{digest.hex}.{time.time_ns()}"
        try:
            with disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(self._location(digest), target)  # noqa: PTH105
        except StoreFailure as error:
            raise _missing_or(error, digest) from error.__cause__
        return target

    def blobs(self) -> Iterator[Blob]:
        """Every blob with its size, in no particular order. Other files in the folder are ignored."""
        with disk_errors(self._blobs), suppress(FileNotFoundError), os.scandir(self._blobs) as entries:
            for entry in entries:
                if _HEX.fullmatch(entry.name) is not None:
                    with suppress(FileNotFoundError):  # another process may remove it meanwhile
                        yield Blob(Digest("sha256", entry.name), entry.stat().st_size)

    def remove(self, digest: Digest) -> None:
        """Delete a blob, even if something refers to it; does nothing if it does not exist.

        Raises:
            StoreReadOnly, StoreFailure: it cannot be deleted.
        """
        location = self._location(digest)
        with disk_errors(location), suppress(FileNotFoundError):
            os.unlink(location)  # noqa: PTH108

    def _location(self, digest: Digest) -> str:
        return f"{self._algorithms}/{digest.algorithm}/{digest.hex}"


def _missing_or(error: StoreFailure, digest: Digest) -> EnvironmentFailure:
    return BlobMissing(digest) if isinstance(error.__cause__, FileNotFoundError) else error


def _corrupt(digest: Digest, location: str) -> BlobCorrupt:
    return BlobCorrupt(digest, f"the bytes of {digest} are damaged", where=location)
