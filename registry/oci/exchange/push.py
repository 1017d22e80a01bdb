"""Pushes an artifact of the store to a registry: blobs, then the unchanged manifest, its tags and its referrers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.artifact.media_types import OCI_MANIFEST
from mlxbuild.registry.artifact.referrers import referrers
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.hosts import canonical_host
from mlxbuild.registry.core.reference import DEFAULT_TAG, InvalidReference, Reference
from mlxbuild.registry.oci.exchange.closure import follow
from mlxbuild.registry.oci.exchange.progress import EvidenceLeftOut, Observe, TransferMethod, one_at_a_time
from mlxbuild.registry.oci.exchange.transfers import DEFAULT_JOBS, Amount, evidence_name, move_all, named_blobs
from mlxbuild.registry.oci.exchange.version_tags import VersionTags
from mlxbuild.registry.oci.remote.client import Advance, RawManifest, Remote
from mlxbuild.registry.oci.remote.referrers import RemoteReferrer, attach, list_referrers
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store


@dataclass(frozen=True, slots=True)
class Pushed:
    """The result of a push."""

    name: str
    """The repository as `host/repository`."""
    digest: Digest
    before: Mapping[str, Digest | None]
    """The tags that were set, and what each named at the registry before."""
    amount: Amount
    referrers: tuple[Digest, ...]
    """All referrers, including those that the registry held already."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that were set."""
        return tuple(self.before)


def push(
    store: Store,
    digest: Digest,
    reference: Reference,
    *,
    settings: Settings,
    tags: Sequence[str] = (),
    observe: Observe | None = None,
    jobs: int = DEFAULT_JOBS,
    mount_from: Sequence[str] = (),
    force: bool = False,
) -> Pushed:
    """Push an artifact and its referrers to a registry.

    A blob that the repository holds is not sent. A blob in another repository of the registry is mounted if the
    registry supports it; the candidates are those in `mount_from` and those that the store has a name of. Manifests and
    tags are set last, so a push that ends early leaves no incomplete artifact.

    A tag that contains a version does not move: it is checked before anything is sent, and again right before it is
    set.

    Args:
        reference: The repository, with an optional tag; without a host it belongs to the default registry.
        tags: More tags for the same manifest. If there is no tag at all, it is `latest`.
        force: Move even tags that contain a version.

    Raises:
        VersionTagMoves: a tag that contains a version names another manifest at the registry.
        BlobMissing, BlobCorrupt, InvalidManifest: the artifact in the store is incomplete or damaged.
        InvalidReference: the reference has another digest.
        NoRegistry, RegistryFailure, TransferCorrupt: see `Remote`.
    """
    if reference.digest is not None and reference.digest != digest:
        raise InvalidReference(f"`{reference}` asks for another digest than {digest}", hint="leave the digest out")
    observed = one_at_a_time(observe)
    names = tuple(dict.fromkeys([*([reference.tag] if reference.tag else []), *tags])) or (DEFAULT_TAG,)
    manifest = manifests.read(store, digest)
    data = store.read(digest, limit_bytes=manifests.MANIFEST_LIMIT_BYTES)
    with closing(Remote.open(reference, settings, store.home)) as remote:
        version_tags = VersionTags(remote, RawManifest(data, _media_type(data), digest), force)
        version_tags.require(*names)
        sender = _Sender(store, remote, mount_from, observed, jobs)
        amount = sender.send(manifest, f"pushing {names[0]} to {remote.name}")
        before = {name: version_tags.put(name) for name in names}
        attached = follow(digest, sender.send_referrers, sender.leave_out)
        return Pushed(remote.name, digest, before, amount + sender.amount, attached)


class _Sender:
    """One push: its target, and the repositories that blobs may be mounted from."""

    def __init__(self, store: Store, remote: Remote, mount_from: Sequence[str], observe: Observe, jobs: int) -> None:
        self._store, self._remote, self._observe, self._jobs = store, remote, observe, jobs
        self._mount_from = tuple(mount_from)
        self._known = _known_repositories(store, remote)
        self.amount = Amount()
        """The amount sent for referrers."""

    def send(self, manifest: Manifest, title: str) -> Amount:
        """Send the blobs of a manifest to the repository; none of them if a file in the store has the wrong size."""
        items = named_blobs(manifest)
        for item in items:
            if self._store.has(item.blob.digest):  # the repository may hold what the store does not
                self._store.check_size(item.blob)
        return move_all(items, self._send, title=title, observe=self._observe, jobs=self._jobs)

    def send_referrers(self, subject: Digest) -> tuple[Digest, ...]:
        """Send the referrers of a manifest; returns all of them, including those that existed already."""
        local = referrers(self._store, subject)
        if not local:
            return ()
        there = {each.raw.digest for each in list_referrers(self._remote, subject)}
        attached, missing = [], []
        for referrer in local:
            if referrer.digest not in there:
                try:
                    data = self._store.read(referrer.digest, limit_bytes=manifests.MANIFEST_LIMIT_BYTES)
                    for layer in (referrer.manifest.config, *referrer.manifest.layers):
                        self._store.check_size(layer.blob)
                except MlxbuildError as error:  # a part of it is missing from the store or damaged
                    self.leave_out(referrer.digest, error.message)
                    continue
                self.amount += self.send(referrer.manifest, f"pushing {evidence_name(referrer.manifest)}")
                raw = RawManifest(data, OCI_MANIFEST, referrer.digest)
                missing.append(RemoteReferrer(raw, referrer.manifest))
            attached.append(referrer.digest)
        attach(self._remote, subject, missing)
        return tuple(attached)

    def leave_out(self, digest: Digest, reason: str) -> None:
        """Report that a referrer is left out."""
        self._observe(EvidenceLeftOut(digest, reason))

    def _send(self, blob: Blob, advance: Advance) -> tuple[TransferMethod, int]:
        candidates = [*self._mount_from, *self._known.get(blob.digest, ())]
        if candidates:
            if self._remote.has_blob(blob.digest):
                advance(blob.size_bytes)
                return TransferMethod.PRESENT, 0
            for repository in candidates:
                if self._remote.mount_blob(blob.digest, repository):
                    advance(blob.size_bytes)
                    return TransferMethod.MOUNTED, 0
        moved_bytes = self._remote.upload_blob(blob, self._store, advance)
        return (TransferMethod.MOVED, moved_bytes) if moved_bytes else (TransferMethod.PRESENT, 0)


def _known_repositories(store: Store, remote: Remote) -> Mapping[Digest, Sequence[str]]:
    """The other repositories of the registry that hold each blob, as far as names in the store show."""
    known: dict[Digest, list[str]] = {}
    for name, descriptor in store.tags.items():
        with suppress(MlxbuildError):  # a name of another tool, or a damaged artifact: nothing to mount
            reference = Reference.parse(name)
            if reference.host is None or canonical_host(reference.host) != remote.host:
                continue
            if reference.repository == remote.repository:
                continue
            for item in named_blobs(manifests.read(store, descriptor.digest)):
                repositories = known.setdefault(item.blob.digest, [])
                if reference.repository not in repositories:
                    repositories.append(reference.repository)
    return known


def _media_type(data: bytes) -> str:
    declared = manifests.json_object(data, "manifest").get("mediaType")
    return declared if isinstance(declared, str) else OCI_MANIFEST
