"""Reads an artifact from the mirrors of its registry, then from the registry; mirrors are verified by digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import DEFAULT_TAG, Reference
from mlxbuild.registry.oci.exchange.progress import MirrorLeftOut, Observe
from mlxbuild.registry.oci.exchange.tagged import get_tagged
from mlxbuild.registry.oci.exchange.transfers import named_blobs
from mlxbuild.registry.oci.remote.client import Advance, RawManifest, Remote
from mlxbuild.registry.oci.remote.errors import ManifestUnknown, RegistryFailure, RemoteBlobUnknown, TransferCorrupt
from mlxbuild.registry.oci.remote.referrers import LeaveOut, list_referrers
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store

EVIDENCE_LIMIT_BYTES = 64 * 1024 * 1024

_Result = TypeVar("_Result")


class RegistrySource:
    """The registries that may hold the content of one reference (see `ArtifactSource`). Safe for many threads at once.

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
            return get_tagged(self.origin, tag)
        found = self.origin.head_manifest(tag)
        if found is None or found.digest.algorithm != "sha256":
            return get_tagged(self.origin, tag)  # raises the error that says what is wrong
        return self.manifest_of(found.digest)

    def manifest_of(self, digest: Digest) -> RawManifest:
        """The manifest of a digest; raises the errors of `manifest`."""
        return self.ask(lambda remote: remote.get_manifest(digest))

    def fetch(self, blob: Blob, store: Store, advance: Advance) -> int:
        """Download a blob into the store; see `Remote.download_blob`."""
        return self.ask(lambda remote: remote.download_blob(blob, store, advance))

    def referrers(self, subject: Digest, leave_out: LeaveOut) -> Iterator[tuple[Manifest, bytes]]:
        """The referrers of a manifest that are small enough for evidence. Lists are taken from the registry only,
        because a mirror could omit evidence against an artifact."""
        for referrer in list_referrers(self.origin, subject, leave_out):
            blobs = [item.blob for item in named_blobs(referrer.manifest)]
            if any(blob.digest.algorithm != "sha256" for blob in blobs):
                leave_out(referrer.raw.digest, "it names a blob by a digest other than sha256")
            elif sum(blob.size_bytes for blob in blobs) > EVIDENCE_LIMIT_BYTES:
                leave_out(referrer.raw.digest, f"it has more than {EVIDENCE_LIMIT_BYTES} bytes")
            else:
                yield referrer.manifest, referrer.raw.data

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
