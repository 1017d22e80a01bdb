"""The errors of the store."""

from __future__ import annotations

from pathlib import Path

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import EnvironmentFailure, TrustError


class StoreFailure(EnvironmentFailure):
    """The disk below the store refused an operation."""

    code = "store-failure"

    @classmethod
    def gone(cls, folder: Path) -> StoreFailure:
        """The error for a folder of the store that was moved or deleted while it was in use."""
        return StoreFailure(
            "the store was moved or deleted",
            where=str(folder),
            hint="restore the folder; building or pulling something creates a new store",
        )


class DiskFull(StoreFailure):
    """No space is left: the disk, a quota or a file size limit."""

    code = "disk-full"


class StoreReadOnly(StoreFailure):
    """The store cannot be written to."""

    code = "store-read-only"


class BlobMissing(EnvironmentFailure):
    """The store does not hold a blob that was referred to."""

    code = "blob-missing"

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"the store does not hold {digest}", hint="build or pull the artifact that needs it again")
        self.digest = digest


class BlobCorrupt(TrustError):
    """A blob's bytes do not match its digest or its size."""

    code = "blob-corrupt"

    def __init__(self, digest: Digest, message: str, *, where: str) -> None:
        hint = "build or pull again: the damaged blob is quarantined and replaced"
        super().__init__(message, where=where, hint=hint)
        self.digest = digest


class BlobTooLarge(TrustError):
    """A blob that should be small metadata is too large."""

    code = "blob-too-large"
