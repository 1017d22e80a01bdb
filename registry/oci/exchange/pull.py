"""Pulls an artifact into the store: validated first, verified while it streams, and tagged last."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.admission import admit_artifact, admit_manifest, require_none
from mlxbuild.registry.oci.exchange.progress import Observe, one_at_a_time
from mlxbuild.registry.oci.exchange.receive import Receiver
from mlxbuild.registry.oci.exchange.registry_source import RegistrySource
from mlxbuild.registry.oci.exchange.transfers import DEFAULT_JOBS, Amount
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store


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
    with closing(RegistrySource(reference, settings, store.home, observed)) as source:
        raw = source.manifest(reference)
        where = f"{source.origin.name}@{raw.digest}"
        manifest = admit_artifact(raw, where)
        receiver = Receiver(source, store, observed)
        require_none(receiver.describe(manifest), where)
        evidence = receiver.receive_evidence(raw.digest)
        names = _names(reference, source)
        receiver.admit(raw.digest, names)
        title = f"pulling {source.origin.name}:{reference.tag or raw.digest.short}"
        amount = receiver.receive_files(manifest, title, jobs)
        receiver.record({raw.digest: map(str, names)})
        blob = store.put(raw.data)
        if reference.tag is None and reference.digest is not None:
            store.tags.add_unnamed([tag_descriptor(blob)])
            stored_name = f"{source.origin.name}@{blob.digest}"
        else:
            stored_name = Reference(reference.repository, reference.tag, None, reference.host).store_name
            receiver.name({stored_name: blob.digest})
        return Pulled(stored_name, raw.digest, amount + receiver.amount, evidence)


def pull_evidence(store: Store, reference: Reference, *, settings: Settings, observe: Observe | None = None) -> Digest:
    """Pull the manifest of a reference and its referrers, but none of its files; no tag is set.

    Raises:
        InvalidManifest, ManifestTooLarge: it is not a manifest.
        NoRegistry, RegistryFailure, TransferCorrupt: see `Remote`.
    """
    observed = one_at_a_time(observe)
    with closing(RegistrySource(reference, settings, store.home, observed)) as source:
        raw = source.manifest(reference)
        admit_manifest(raw, f"{source.origin.name}@{raw.digest}")
        Receiver(source, store, observed).receive_evidence(raw.digest)
        return store.put(raw.data).digest


def _names(reference: Reference, source: RegistrySource) -> tuple[Reference, ...]:
    """The names that the policy is applied to: the full name, and the name in the store."""
    origin = source.origin
    full = Reference(origin.repository, reference.tag, reference.digest, origin.host)
    return tuple(dict.fromkeys((full, reference)))
