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
from mlxbuild.registry.core.suggestions import listed
from mlxbuild.registry.store.layout import BlobCorrupt, BlobMissing, BlobTooLarge, Store


class VersionTagMoves(UserError):
    """A tag that contains a version already names another artifact, and moving it was not requested."""

    code = "version-tag-moves"


@dataclass(frozen=True, slots=True)
class TagMove:
    """The move of tags that contain a version from one artifact to another."""

    names: tuple[str, ...]
    before: Digest
    after: Digest

    def __str__(self) -> str:
        before, after = (f"{digest.algorithm}:{digest.short}" for digest in (self.before, self.after))
        return (
            f"{listed(self.names)} {'moves' if len(self.names) == 1 else 'move'} from {before} to {after}: "
            "give the recipe another version, so that both keep a name"
        )

    def refused(self, hint: str) -> VersionTagMoves:
        """The error for tags that must not move; it names the first."""
        name = self.names[0]
        return VersionTagMoves(
            f"`{name}` is {self.before} already, and would become {self.after}",
            where=name,
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
    """The tags containing a version that would move in the store if these names were set; those that move alike as one.

    Raises:
        StoreFailure: the tags cannot be read.
    """
    present = {name: descriptor.digest for name, descriptor in store.tags.items()}
    moved: dict[tuple[Digest, Digest], tuple[str, ...]] = {}
    for name, after in names.items():
        before = present.get(name, after)
        if before != after and _is_promised(store, name, before, after):
            moved[before, after] = (*moved.get((before, after), ()), name)
    return tuple(TagMove(alike, before, after) for (before, after), alike in moved.items())


def set_tags(store: Store, names: Mapping[str, Digest], warn: Callable[[TagMove], object]) -> None:
    """Tag artifacts of the store; `warn` is called first with the tags that contain a version and move.

    Raises:
        BlobMissing: the store does not hold one of them.
        DiskFull, StoreReadOnly, StoreFailure: no tag was set.
    """
    for move in moves(store, names):
        warn(move)
    store.tags.set({name: tag_descriptor(Blob(digest, store.size(digest))) for name, digest in names.items()})


def _is_promised(store: Store, name: str, before: Digest, after: Digest) -> bool:
    versions = (stored_version(store, digest) for digest in (before, after))
    return promises(name.rpartition(":")[2], *versions)


def stored_version(store: Store, digest: Digest) -> str | None:
    """The version in the manifest of an artifact of the store, if it can be read and has one."""
    try:
        return version_of(store.read(digest, limit_bytes=manifests.MANIFEST_LIMIT_BYTES))
    except (BlobMissing, BlobCorrupt, BlobTooLarge, InvalidManifest):
        return None
