"""Sets tags, and protects those that contain their artifact's version from moving; `x:int4` and such move freely."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact.manifest import InvalidManifest
from mlxbuild.registry.artifact.media_types import VERSION
from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.store.layout import BlobCorrupt, BlobMissing, BlobTooLarge, Store


class VersionTagMoves(UserError):
    """A tag that contains a version already names another artifact, and moving it was not requested."""

    code = "version-tag-moves"


@dataclass(frozen=True, slots=True)
class TagMove:
    """The move of a tag that contains a version from one artifact to another."""

    name: str
    before: Digest
    after: Digest

    def __str__(self) -> str:
        return (
            f"`{self.name}` moves from {self.before} to {self.after}: "
            "give the recipe another version, so that both keep a name"
        )

    def refused(self, hint: str) -> VersionTagMoves:
        """The error for a tag that must not move."""
        return VersionTagMoves(
            f"`{self.name}` is {self.before} already, and would become {self.after}",
            where=self.name,
            hint=f"give the recipe another version, or {hint}",
        )


def promises(tag: str, *versions: str | None) -> bool:
    """Whether a tag contains one of some versions: it is `version` or `variant-version`."""
    return any(version and (tag == version or tag.endswith(f"-{version}")) for version in versions)


def version_of(data: bytes) -> str | None:
    """The version in a manifest's annotations (OCI image-spec, `org.opencontainers.image.version`).

    Raises:
        InvalidManifest: the bytes are not a JSON object.
    """
    annotations = manifests.json_object(data, "manifest").get("annotations")
    version = annotations.get(VERSION) if isinstance(annotations, dict) else None
    return version if isinstance(version, str) else None


def moves(store: Store, names: Mapping[str, Digest]) -> tuple[TagMove, ...]:
    """The tags containing a version that would move in the store if these names were set.

    Raises:
        StoreFailure: the tags cannot be read.
    """
    present = {name: descriptor.digest for name, descriptor in store.tags.items()}
    found = (TagMove(name, present[name], after) for name, after in names.items() if present.get(name, after) != after)
    return tuple(move for move in found if _is_promised(store, move))


def set_tags(store: Store, names: Mapping[str, Digest], warn: Callable[[TagMove], object]) -> None:
    """Tag artifacts of the store; `warn` is called first with each tag that contains a version and moves.

    Raises:
        BlobMissing: the store does not hold one of them.
        DiskFull, StoreReadOnly, StoreFailure: no tag was set.
    """
    for move in moves(store, names):
        warn(move)
    store.tags.set({name: tag_descriptor(Blob(digest, store.size(digest))) for name, digest in names.items()})


def _is_promised(store: Store, move: TagMove) -> bool:
    versions = (_stored_version(store, digest) for digest in (move.before, move.after))
    return promises(move.name.rpartition(":")[2], *versions)


def _stored_version(store: Store, digest: Digest) -> str | None:
    try:
        return version_of(store.read(digest, limit_bytes=manifests.MANIFEST_LIMIT_BYTES))
    except (BlobMissing, BlobCorrupt, BlobTooLarge, InvalidManifest):
        return None
