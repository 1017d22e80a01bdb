"""Inspects an artifact at a registry (manifest, config and referrers) without fetching its files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.admission import CONFIG_LIMIT_BYTES, admit_manifest
from mlxbuild.registry.oci.exchange.progress import Observe, one_at_a_time
from mlxbuild.registry.oci.exchange.registry_source import RegistrySource
from mlxbuild.registry.oci.remote.client import RawManifest
from mlxbuild.registry.oci.remote.referrers import RemoteReferrer, list_referrers
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store


@dataclass(frozen=True, slots=True)
class Inspection:
    """The description of an artifact at a registry."""

    name: str
    """`host/repository`."""
    raw: RawManifest
    manifest: Manifest
    config: Mapping[str, Any]
    referrers: tuple[RemoteReferrer, ...]


def inspect(store: Store, reference: Reference, *, settings: Settings, observe: Observe | None = None) -> Inspection:
    """Inspect the artifact of a reference. Only the config is put into the store, without a name.

    Raises:
        InvalidManifest: it is not a manifest with a JSON config of reasonable size.
        TransferCorrupt, RegistryFailure: see `Remote`.
    """
    with closing(RegistrySource(reference, settings, store.home, one_at_a_time(observe))) as source:
        raw = source.manifest(reference)
        where = f"{source.origin.name}@{raw.digest}"
        manifest = admit_manifest(raw, where)
        config = manifest.config.blob
        if config.size_bytes > CONFIG_LIMIT_BYTES:
            raise manifests.InvalidManifest(f"its config has {config.size_bytes} bytes", where=where)
        source.fetch(config, store, lambda _count: None)
        document = manifests.json_object(store.read(config.digest), f"{where} config")
        return Inspection(source.origin.name, raw, manifest, document, list_referrers(source.origin, raw.digest))
