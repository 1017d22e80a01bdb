"""Keeps tags with a version at the artifact that they name at a registry, unless somebody insists."""

from __future__ import annotations

from dataclasses import dataclass

from mlxbuild.registry.artifact.versions import Move, promises, version_of
from mlxbuild.registry.oci.remote.client import RawManifest, Remote


@dataclass(frozen=True, slots=True)
class VersionTags:
    """The tags of one repository, towards one manifest that is to get some of them."""

    remote: Remote
    raw: RawManifest
    force: bool

    def require(self, *tags: str) -> None:
        """Refuse to move tags that hold a version of what they name now, or of what they are to name.

        Registries know no way to set a tag on a condition, so ask right before each is set, too.

        Raises:
            VersionTagMoves: one names other bytes already.
            RegistryFailure: the registry does not tell.
        """
        for tag in () if self.force else tags:
            found = self.remote.head_manifest(tag, actions="pull,push")
            if found is None or found.digest == self.raw.digest:
                continue
            if promises(tag, version_of(self.raw.data)) or promises(tag, self._version_there(tag)):
                move = Move(f"{self.remote.name}:{tag}", found.digest, self.raw.digest)
                raise move.refused("push with --force (`force` over HTTP)")

    def _version_there(self, tag: str) -> str | None:
        return version_of(self.remote.get_manifest(tag).data)

    def put(self, tag: str) -> None:
        """Set one tag, if that is no move of a version."""
        self.require(tag)
        self.remote.put_manifest(self.raw.data, self.raw.media_type, tag)
