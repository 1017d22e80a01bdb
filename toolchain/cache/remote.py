"""Stores traces in a registry as a remote cache: one tag per action, so concurrent writers never race.

The manifest tagged `ac1-<key>` has the action's record as its config and the outputs as layers. A record of usual
size and small outputs are also embedded in the manifest (OCI image-spec 1.1, descriptor, `data`), which saves a request
for each of them. As with any shared cache, the registry is trusted about which outputs a key has; their bytes are
checked by digest, and a record whose key differs from its tag is ignored. Records hold no credentials, paths or
hosts, so neither does the cache.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.core import bounded_json, canonical_json
from mlxbuild.registry.core.digest import Blob, Digest, InvalidDigest
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.errors import ManifestUnknown, RemoteBlobUnknown, RepositoryUnknown
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.cache.traces import Trace, stamp_of
from mlxbuild.toolchain.core.action_key import action_key, record_from_json, record_to_json

ACTION = "application/vnd.mlxbuild.action.v1"
RECORD = "application/vnd.mlxbuild.action.record.v1+json"
OUTPUT = "application/vnd.mlxbuild.action.output.v1"
_RECORD_LIMIT_BYTES = 16 * 1024 * 1024
_EMBEDDED_LIMIT_BYTES = 64 * 1024
_EMBEDDED_OUTPUTS_LIMIT_BYTES = 256 * 1024  # the sum of all embedded outputs; registries must accept manifests of 4 MB
_SECONDS = "dev.mlxbuild.action.seconds"


class RemoteTraces:
    """The traces in one repository. Thread-safe."""

    def __init__(self, remote: Remote, store: Store) -> None:
        self._remote = remote
        self._store = store

    def fetch(self, key: Digest) -> Trace | None:
        """The trace of a key with all outputs pulled into the store, or None if the repository lacks any of them.

        Raises:
            RegistryFailure, TransferCorrupt: the registry cannot be used.
            DiskFull, StoreReadOnly: the outputs cannot be stored.
        """
        try:
            manifest = bounded_json.decode(self._remote.get_manifest(_tag(key)).data)
            config = _blob(manifest["config"])
            if config.size_bytes > _RECORD_LIMIT_BYTES:
                return None
            embedded = _embedded(manifest["config"])
            record = record_from_json(json.loads(embedded or self._remote.read_blob(config)))
            if action_key(record) != key:
                return None
            outputs = {layer["annotations"][media_types.TITLE]: _blob(layer) for layer in manifest["layers"]}
            contents = [_embedded(layer) for layer in manifest["layers"]]
            self._store.put_all(*filter(None, contents))
            for blob, content in zip(outputs.values(), contents, strict=True):
                if not content:
                    self._remote.download_blob(blob, self._store)
            seconds = float(manifest.get("annotations", {}).get(_SECONDS, 0))
            stamps = {str(name): stamp_of(self._store, blob) or 0 for name, blob in outputs.items()}
        except (ManifestUnknown, RepositoryUnknown, RemoteBlobUnknown):
            return None
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, InvalidDigest):
            return None  # not a record of mlxbuild
        return Trace(key, record, outputs, seconds, stamps)

    def publish(self, trace: Trace) -> int | None:
        """Push a trace and its outputs; the number of bytes sent, or None if the repository has a trace of that key.

        An existing trace stays, since the first result of a key wins.

        Raises:
            RegistryFailure, TransferCorrupt: the registry cannot be used.
        """
        if self._remote.head_manifest(_tag(trace.key)) is not None:
            return None
        written = canonical_json.encode(record_to_json(trace.record))
        config = self._store.put(written, durable=False)
        small = {config: written} if len(written) <= _EMBEDDED_LIMIT_BYTES else {}
        small |= self._small(trace.outputs.values())
        sent_bytes = sum(self._remote.upload_blob(blob, self._store) for blob in {config, *trace.outputs.values()})
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "artifactType": ACTION,
            "config": _descriptor(RECORD, config, small.get(config)),
            "layers": [
                _descriptor(OUTPUT, blob, small.get(blob)) | {"annotations": {media_types.TITLE: name}}
                for name, blob in sorted(trace.outputs.items())
            ],
            "annotations": {_SECONDS: f"{trace.seconds:.4f}"},
        }
        self._remote.put_manifest(canonical_json.encode(manifest), media_types.OCI_MANIFEST, _tag(trace.key))
        return sent_bytes

    def _small(self, outputs: Iterable[Blob]) -> Iterator[tuple[Blob, bytes]]:
        """The smallest of some outputs, as many as fit into the manifest."""
        left_bytes = _EMBEDDED_OUTPUTS_LIMIT_BYTES
        for blob in sorted(set(outputs), key=lambda blob: (blob.size_bytes, blob.digest)):
            left_bytes -= blob.size_bytes
            if left_bytes < 0:
                return
            yield blob, self._store.read(blob.digest)


def _embedded(descriptor: Mapping[str, Any]) -> bytes:
    """The content embedded in a descriptor; empty if it does not match the descriptor's digest."""
    content = b64decode(descriptor.get("data", ""))
    return content if Blob(Digest.of_bytes(content), len(content)) == _blob(descriptor) else b""


def _tag(key: Digest) -> str:
    return f"ac1-{key.hex}"


def _descriptor(media_type: str, blob: Blob, content: bytes | None) -> dict[str, Any]:
    """The descriptor of a blob in a manifest; `content`, if given, is embedded."""
    plain = {"mediaType": media_type, "digest": str(blob.digest), "size": blob.size_bytes}
    return plain if content is None else plain | {"data": b64encode(content).decode()}


def _blob(descriptor: Mapping[str, Any]) -> Blob:
    return Blob(Digest.parse(descriptor["digest"]), int(descriptor["size"]))
