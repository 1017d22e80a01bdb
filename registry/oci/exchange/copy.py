"""Copies an artifact between registries without storing it here: blobs are mounted if possible, else streamed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.artifact.media_types import OCI_INDEX
from mlxbuild.registry.core.digest import Blob, Digest, InvalidDigest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import DEFAULT_TAG, InvalidReference, Reference
from mlxbuild.registry.oci.exchange.admission import admit_manifest
from mlxbuild.registry.oci.exchange.closure import follow
from mlxbuild.registry.oci.exchange.progress import EvidenceLeftOut, Observe, TransferMethod, one_at_a_time
from mlxbuild.registry.oci.exchange.registry_source import RegistrySource
from mlxbuild.registry.oci.exchange.transfers import DEFAULT_JOBS, Amount, evidence_name, move_all, named_blobs
from mlxbuild.registry.oci.exchange.version_tags import VersionTags
from mlxbuild.registry.oci.remote.client import Advance, RawManifest, Remote
from mlxbuild.registry.oci.remote.referrers import attach, list_referrers
from mlxbuild.registry.oci.remote.settings import Settings

_MOST_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of a copy."""

    name: str
    """The target as `host/repository`."""
    digest: Digest
    tags: tuple[str, ...]
    amount: Amount
    referrers: tuple[Digest, ...]


def copy(
    source: Reference,
    target: Reference,
    *,
    settings: Settings,
    home: Home,
    tags: Sequence[str] = (),
    observe: Observe | None = None,
    jobs: int = DEFAULT_JOBS,
    force: bool = False,
) -> Copied:
    """Copy an artifact of any kind, or an index with all its entries, and the referrers to another repository.

    Manifests are copied byte for byte.

    Args:
        target: The target; its tag defaults to that of the source.
        tags: More tags for the same manifest.
        force: Move even tags that contain a version.

    Raises:
        InvalidManifest: the source is neither a manifest nor an index of manifests.
        InvalidReference: the target has another digest.
        VersionTagMoves: a tag that contains a version names another manifest at the target.
        TransferCorrupt, RegistryFailure: see `Remote`.
    """
    observed = one_at_a_time(observe)
    with (
        closing(RegistrySource(source, settings, home, observed)) as registries,
        closing(Remote.open(target, settings, home)) as remote,
    ):
        raw = registries.manifest(source)
        if target.digest not in (None, raw.digest):
            raise InvalidReference(f"`{target}` asks for another digest than {raw.digest}", hint="leave it out")
        named = target.tag or source.tag or (DEFAULT_TAG if source.digest is None else None)
        names = tuple(dict.fromkeys([*([named] if named else []), *tags]))
        version_tags = VersionTags(remote, raw, force)
        version_tags.require(*names)
        courier = _CopyTask(registries, remote, observed, jobs)
        amount = courier.carry(raw, f"copying {registries.origin.name} to {remote.name}")
        for name in names:
            version_tags.put(name)
        if not names:
            remote.put_manifest(raw.data, raw.media_type, raw.digest)
        attached = follow(raw.digest, courier.carry_referrers, courier.leave_out)
        return Copied(remote.name, raw.digest, names, amount + courier.amount, attached)


class _CopyTask:
    """One copy from a source to a target."""

    def __init__(self, source: RegistrySource, target: Remote, observe: Observe, jobs: int) -> None:
        self._source, self._target, self._observe, self._jobs = source, target, observe, jobs
        self.amount = Amount()
        """The amount transferred for referrers."""

    def carry(self, raw: RawManifest, title: str) -> Amount:
        """Copy everything that a manifest or index refers to; the caller puts the manifest itself."""
        if raw.media_type != OCI_INDEX:
            return self._carry_blobs(admit_manifest(raw, f"{self._source.origin.name}@{raw.digest}"), title)
        amount = Amount()
        for digest in _entries(raw):
            entry = self._source.manifest_of(digest)
            if entry.media_type == OCI_INDEX:
                raise manifests.InvalidManifest("an index contains an index", where=str(digest))
            amount += self.carry(entry, title)
            self._target.put_manifest(entry.data, entry.media_type, entry.digest)
        return amount

    def carry_referrers(self, subject: Digest) -> tuple[Digest, ...]:
        """Copy the referrers of a manifest; returns all of them, including those that existed already."""
        found = list_referrers(self._source.origin, subject, self.leave_out)
        there = {each.raw.digest for each in list_referrers(self._target, subject)} if found else set()
        missing = [each for each in found if each.raw.digest not in there]
        for each in missing:
            self.amount += self._carry_blobs(each.manifest, f"copying {evidence_name(each.manifest)}")
        attach(self._target, subject, missing)
        return tuple(each.raw.digest for each in found)

    def leave_out(self, digest: Digest, reason: str) -> None:
        """Report that a referrer is left out."""
        self._observe(EvidenceLeftOut(digest, reason))

    def _carry_blobs(self, manifest: Manifest, title: str) -> Amount:
        return move_all(named_blobs(manifest), self._move, title=title, observe=self._observe, jobs=self._jobs)

    def _move(self, blob: Blob, advance: Advance) -> tuple[TransferMethod, int]:
        target, origin = self._target, self._source.origin
        if target.has_blob(blob.digest):
            advance(blob.size_bytes)
            return TransferMethod.PRESENT, 0
        if origin.host == target.host and target.mount_blob(blob.digest, origin.repository):
            advance(blob.size_bytes)
            return TransferMethod.MOUNTED, 0
        moved_bytes = self._source.ask(lambda remote: target.copy_blob(blob, remote, advance))
        return (TransferMethod.MOVED, moved_bytes) if moved_bytes else (TransferMethod.PRESENT, 0)


def _entries(raw: RawManifest) -> list[Digest]:
    listed = manifests.json_object(raw.data, str(raw.digest)).get("manifests")
    if not isinstance(listed, list) or len(listed) > _MOST_ENTRIES:
        raise manifests.InvalidManifest("it is not an index of manifests", where=str(raw.digest))
    try:
        return [Digest.parse(str(entry["digest"])) for entry in listed]
    except (InvalidDigest, LookupError, TypeError) as error:
        raise manifests.InvalidManifest("an entry of the index has no digest", where=str(raw.digest)) from error
