"""The protocol of what artifacts come from: a registry, an image layout or an archive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.oci.remote.client import Advance
from mlxbuild.registry.oci.remote.referrers import LeaveOut
from mlxbuild.registry.store.layout import Store


class ArtifactSource(Protocol):
    """What artifacts come from. Its content is not trusted."""

    def fetch(self, blob: Blob, store: Store, advance: Advance) -> int:
        """Bring a blob into the store, its size and digest checked on the way; returns how many bytes were moved, which
        are none if it is there already."""

    def referrers(self, subject: Digest, leave_out: LeaveOut) -> Iterable[tuple[Manifest, bytes]]:
        """The manifests that refer to another one, each with its bytes."""
