"""Pulls an artifact into the store: validated first, verified while it streams, and tagged last."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.artifact.referrers import adopt
from mlxbuild.registry.artifact.verification import check_description
from mlxbuild.registry.artifact.versions import moves
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.reference import DEFAULT_TAG, Reference
from mlxbuild.registry.oci.exchange.admission import admit_artifact, admit_manifest, require_none
from mlxbuild.registry.oci.exchange.closure import follow
from mlxbuild.registry.oci.exchange.progress import EvidenceLeftOut, NamedBlob, Observe, Warned, Way, one_at_a_time
from mlxbuild.registry.oci.exchange.sources import Sources
from mlxbuild.registry.oci.exchange.transfers import DEFAULT_JOBS, Amount, move_all, named_blobs
from mlxbuild.registry.oci.remote.client import Advance
from mlxbuild.registry.oci.remote.errors import RemoteBlobUnknown, TransferCorrupt
from mlxbuild.registry.oci.remote.referrers import RemoteReferrer, list_referrers
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.origins import Origin, Origins
from mlxbuild.registry.trust.policy import admit

EVIDENCE_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pulled:
    """The result of a pull."""

    name: str
    """The name in the store; `host/repository@digest` if only a digest was asked for."""
    digest: Digest
    amount: Amount
    referrers: tuple[Digest, ...]


def pull(
    store: Store,
    reference: Reference,
    *,
    settings: Settings,
    observe: Observe | None = None,
    jobs: int = DEFAULT_JOBS,
) -> Pulled:
    """Pull an artifact and its referrers into the store, and tag it there with the name that was asked for.

    The manifest is validated before anything is fetched, the config and the trust policy are checked before the
    weights are fetched, and each blob is verified while it streams. The tag is set when all checks have passed.

    Raises:
        InvalidManifest, UnsafePath, ManifestTooLarge, BrokenPromises: it is not a valid artifact.
        Untrusted: the policy refuses it.
        TransferCorrupt: the bytes do not match the digests in the manifest.
        NoRegistry, RegistryFailure: see `Remote`.
        DiskFull, StoreReadOnly, StoreFailure: the store cannot be written; what was fetched is kept for the next pull.
    """
    observed = one_at_a_time(observe)
    with closing(Sources(reference, settings, store.home, observed)) as sources:
        raw = sources.manifest(reference)
        where = f"{sources.origin.name}@{raw.digest}"
        manifest = admit_artifact(raw, where)
        receiver = _Receiver(store, sources, observed)
        config = manifest.config.blob
        receiver.receive(config)
        require_none(check_description(store, manifest), where)
        evidence = follow(raw.digest, receiver.receive_referrers, receiver.leave_out)
        names = _names(reference, sources)
        for name in names:
            admit(store, name, raw.digest, tell=lambda reason: observed(Warned(reason)))
        title = f"pulling {sources.origin.name}:{reference.tag or raw.digest.short}"
        files = [item for item in named_blobs(manifest) if item.blob != config]
        amount = move_all(files, receiver.move, title=title, observe=observed, jobs=jobs)
        Origins(store.home).record({raw.digest: Origin(tuple(map(str, names)))})
        stored_name = _name(store, reference, store.put(raw.data), sources, observed)
        return Pulled(stored_name, raw.digest, amount + receiver.amount, evidence)


def pull_evidence(store: Store, reference: Reference, *, settings: Settings, observe: Observe | None = None) -> Digest:
    """Pull the manifest of a reference and its referrers, but none of its files; no tag is set.

    Raises:
        InvalidManifest, ManifestTooLarge: it is not a manifest.
        NoRegistry, RegistryFailure, TransferCorrupt: see `Remote`.
    """
    observed = one_at_a_time(observe)
    with closing(Sources(reference, settings, store.home, observed)) as sources:
        raw = sources.manifest(reference)
        admit_manifest(raw, f"{sources.origin.name}@{raw.digest}")
        receiver = _Receiver(store, sources, observed)
        follow(raw.digest, receiver.receive_referrers, receiver.leave_out)
        return store.put(raw.data).digest


class _Receiver:
    """Downloads blobs into the store."""

    def __init__(self, store: Store, sources: Sources, observe: Observe) -> None:
        self._store, self._sources, self._observe = store, sources, observe
        self.amount = Amount()
        """The amount of the blobs that were received one by one."""

    def receive(self, blob: Blob) -> None:
        """Download one small blob."""
        moved_bytes = self._sources.download(blob, self._store, _silently)
        self.amount += Amount(moved_bytes=moved_bytes) if moved_bytes else Amount(present_bytes=blob.size_bytes)

    def move(self, blob: Blob, advance: Advance) -> tuple[Way, int]:
        """Download one of several blobs, reporting progress."""
        moved_bytes = self._sources.download(blob, self._store, advance)
        return (Way.MOVED, moved_bytes) if moved_bytes else (Way.PRESENT, 0)

    def receive_referrers(self, subject: Digest) -> tuple[Digest, ...]:
        """Download the referrers of a manifest that are complete and small enough for evidence. Lists are taken from
        the registry only, because a mirror could omit evidence against an artifact."""
        received = []
        for referrer in list_referrers(self._sources.origin, subject, self.leave_out):
            if (reason := self._bring(referrer)) is None:
                received.append(adopt(self._store, referrer.raw.data).digest)
            else:
                self.leave_out(referrer.raw.digest, reason)
        return tuple(received)

    def leave_out(self, digest: Digest, reason: str) -> None:
        """Report that a referrer is left out."""
        self._observe(EvidenceLeftOut(digest, reason))

    def _bring(self, referrer: RemoteReferrer) -> str | None:
        manifest: Manifest = referrer.manifest
        items: tuple[NamedBlob, ...] = named_blobs(manifest)
        if any(item.blob.digest.algorithm != "sha256" for item in items):
            return "it names a blob by a digest other than sha256"
        if sum(item.blob.size_bytes for item in items) > EVIDENCE_LIMIT_BYTES:
            return f"it has more than {EVIDENCE_LIMIT_BYTES} bytes"
        try:
            for item in items:
                self.receive(item.blob)
        except (RemoteBlobUnknown, TransferCorrupt) as error:
            return error.message
        return None


def _names(reference: Reference, sources: Sources) -> tuple[Reference, ...]:
    """The names that the policy is applied to: the full name, and the name in the store."""
    origin = sources.origin
    full = Reference(origin.repository, reference.tag, reference.digest, origin.host)
    return tuple(dict.fromkeys((full, reference)))


def _name(store: Store, reference: Reference, blob: Blob, sources: Sources, observe: Observe) -> str:
    descriptor = tag_descriptor(blob)
    if reference.tag is None and reference.digest is not None:
        store.tags.add_unnamed([descriptor])
        return f"{sources.origin.name}@{blob.digest}"
    name = Reference(reference.repository, reference.tag or DEFAULT_TAG, None, reference.host).store_name
    for move in moves(store, {name: blob.digest}):
        observe(Warned(f"warning: {move}"))
    store.tags.set({name: descriptor})
    return name


def _silently(_count: int) -> None:
    return None
