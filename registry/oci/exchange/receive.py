"""Brings artifacts from any source into a store, in the order of trust: nothing large comes before it is admitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.artifact.referrers import adopt
from mlxbuild.registry.artifact.verification import Problem, check_description
from mlxbuild.registry.artifact.versions import TagMove, set_tags
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.closure import follow
from mlxbuild.registry.oci.exchange.progress import EvidenceLeftOut, Observe, TransferMethod, Warned
from mlxbuild.registry.oci.exchange.source import ArtifactSource
from mlxbuild.registry.oci.exchange.transfers import DEFAULT_JOBS, Amount, move_all, named_blobs
from mlxbuild.registry.oci.remote.client import Advance
from mlxbuild.registry.oci.remote.errors import RemoteBlobUnknown, TransferCorrupt
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.origins import Origin, Origins
from mlxbuild.registry.trust.policy import admit


class Receiver:
    """Receives artifacts of one source. For each of them call, in this order: `describe`, `receive_evidence`, `admit`,
    `receive_files`, `record`; then put its manifest into the store, and call `name`.

    With `staging`, blobs are received into that store, and the caller moves them to the real one after `record`.
    """

    def __init__(self, source: ArtifactSource, store: Store, observe: Observe, *, staging: Store | None = None) -> None:
        self._source, self._store, self._observe = source, store, observe
        self._staging = staging
        self._target = staging or store
        self.amount = Amount()
        """The amount of the blobs that were received one by one."""

    def describe(self, manifest: Manifest) -> tuple[Problem, ...]:
        """Fetch the config, and check what can be checked without the files."""
        self._receive(manifest.config.blob)
        return check_description(self._target, manifest)

    def receive_evidence(self, subject: Digest) -> tuple[Digest, ...]:
        """Fetch the referrers of a manifest, and theirs; those that are incomplete at a registry are left out."""
        return follow(subject, self._receive_referrers, self._leave_out)

    def admit(self, digest: Digest, names: Iterable[Reference]) -> None:
        """Apply the trust policy to the artifact for each of its names.

        Raises:
            Untrusted: the policy refuses it.
        """
        for name in names:
            admit(self._store, name, digest, tell=self._warn, arrived=self._staging)

    def receive_files(self, manifest: Manifest, title: str, jobs: int = DEFAULT_JOBS) -> Amount:
        """Fetch the files."""
        files = [item for item in named_blobs(manifest) if item.blob != manifest.config.blob]
        return move_all(files, self._move, title=title, observe=self._observe, jobs=jobs)

    def record(self, names: Mapping[Digest, Iterable[str]]) -> None:
        """Record the names that artifacts have at the source, since the trust policy applies to those, too."""
        Origins(self._store.home).record({digest: Origin(tuple(called)) for digest, called in names.items()})

    def name(self, names: Mapping[str, Digest]) -> frozenset[str]:
        """Tag artifacts of the store. Returns the tags that moved although they contain a version, after a warning."""
        moved: set[str] = set()

        def warn(move: TagMove) -> None:
            self._warn(f"warning: {move}")
            moved.update(move.names)

        set_tags(self._store, names, warn)
        return frozenset(moved)

    def _receive(self, blob: Blob) -> None:
        moved_bytes = self._source.fetch(blob, self._target, _silently)
        self.amount += Amount(moved_bytes=moved_bytes) if moved_bytes else Amount(present_bytes=blob.size_bytes)

    def _move(self, blob: Blob, advance: Advance) -> tuple[TransferMethod, int]:
        moved_bytes = self._source.fetch(blob, self._target, advance)
        return (TransferMethod.MOVED, moved_bytes) if moved_bytes else (TransferMethod.PRESENT, 0)

    def _receive_referrers(self, subject: Digest) -> tuple[Digest, ...]:
        received = []
        for manifest, data in self._source.referrers(subject, self._leave_out):
            try:
                for item in named_blobs(manifest):
                    self._receive(item.blob)
            except (RemoteBlobUnknown, TransferCorrupt) as error:
                self._leave_out(manifest.blob.digest, error.message)
            else:
                received.append(adopt(self._target, data).digest)
        return tuple(received)

    def _leave_out(self, digest: Digest, reason: str) -> None:
        self._observe(EvidenceLeftOut(digest, reason))

    def _warn(self, message: str) -> None:
        self._observe(Warned(message))


def _silently(_count: int) -> None:
    return None
