"""Reads an artifact from the mirrors of its registry, then from the registry; mirrors are verified by digest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import DEFAULT_TAG, Reference
from mlxbuild.registry.oci.exchange.progress import MirrorLeftOut, Observe
from mlxbuild.registry.oci.remote.client import Advance, RawManifest, Remote
from mlxbuild.registry.oci.remote.errors import ManifestUnknown, RegistryFailure, RemoteBlobUnknown, TransferCorrupt
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store

_Result = TypeVar("_Result")


class Sources:
    """The registries that may hold the content of one reference. Safe for many threads at once.

    A mirror that lacks something is skipped for that; one that fails otherwise is not asked again. Errors of the
    registry itself, which comes last, are raised.
    """

    def __init__(self, reference: Reference, settings: Settings, home: Home, observe: Observe) -> None:
        *mirrors, self.origin = Remote.sources(reference, settings, home)
        self._mirrors = tuple(mirrors)
        self._observe = observe

    def manifest(self, reference: Reference) -> RawManifest:
        """The manifest of a reference. Only the registry itself resolves tags.

        Raises:
            ManifestUnknown, RepositoryUnknown, ManifestTooLarge, TransferCorrupt, RegistryFailure.
        """
        if reference.digest is not None:
            return self.manifest_of(reference.digest)
        tag = reference.tag or DEFAULT_TAG
        if not self._mirrors:
            return self.origin.get_manifest(tag)
        found = self.origin.head_manifest(tag)
        if found is None or found.digest.algorithm != "sha256":
            return self.origin.get_manifest(tag)  # raises the error that says what is wrong
        return self.manifest_of(found.digest)

    def manifest_of(self, digest: Digest) -> RawManifest:
        """The manifest of a digest; raises the errors of `manifest`."""
        return self.ask(lambda remote: remote.get_manifest(digest))

    def download(self, blob: Blob, store: Store, advance: Advance) -> int:
        """Download a blob into the store; see `Remote.download_blob`."""
        return self.ask(lambda remote: remote.download_blob(blob, store, advance))

    def ask(self, question: Callable[[Remote], _Result]) -> _Result:
        """The answer of the first registry that has one."""
        for mirror in self._mirrors:
            try:
                return question(mirror)
            except (ManifestUnknown, RemoteBlobUnknown):
                continue
            except (RegistryFailure, TransferCorrupt) as error:
                self._leave_out(mirror, error.message)
        return question(self.origin)

    def close(self) -> None:
        """Close idle connections."""
        for remote in (*self._mirrors, self.origin):
            remote.close()

    def _leave_out(self, mirror: Remote, reason: str) -> None:
        if mirror in self._mirrors:
            self._mirrors = tuple(each for each in self._mirrors if each is not mirror)
            self._observe(MirrorLeftOut(mirror.name, reason))
