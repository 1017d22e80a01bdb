"""Keeps tags that contain a version from moving at a registry, unless forced."""

from __future__ import annotations

from dataclasses import dataclass

from mlxbuild.registry.artifact.versions import TagMove, promises, version_of
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.oci.remote.client import RawManifest, Remote


@dataclass(frozen=True, slots=True)
class VersionTags:
    """The tags of one repository that are to name one manifest."""

    remote: Remote
    raw: RawManifest
    force: bool

    def require(self, *tags: str) -> None:
        """Refuse to move tags that contain the version of what they name now or are to name.

        Registries cannot set a tag conditionally, so this is also called right before each tag is set.

        Raises:
            VersionTagMoves: a tag names another manifest already.
            RegistryFailure: the registry does not answer.
        """
        for tag in () if self.force else tags:
            self._checked(tag)

    def _checked(self, tag: str) -> Digest | None:
        """What a tag names there now; refused if it must not move."""
        found = self.remote.head_manifest(tag, actions="pull,push")
        if found is None:
            return None
        moves = found.digest != self.raw.digest and not self.force
        if moves and (promises(tag, version_of(self.raw.data)) or promises(tag, self._version_there(tag))):
            move = TagMove((f"{self.remote.name}:{tag}",), found.digest, self.raw.digest)
            raise move.refused("push with --force (`force` over HTTP)")
        return found.digest

    def _version_there(self, tag: str) -> str | None:
        return version_of(self.remote.get_manifest(tag).data)

    def put(self, tag: str) -> Digest | None:
        """Set one tag, unless it contains a version and would move. Returns what it named before."""
        before = self._checked(tag)
        self.remote.put_manifest(self.raw.data, self.raw.media_type, tag)
        return before
