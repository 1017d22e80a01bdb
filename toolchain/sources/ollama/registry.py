"""Fetches manifests, ranges of blobs and whole blobs from Ollama's registry, or one of its kind.

Blobs in Ollama's local store are used instead of downloads, after checking their digest.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.hosts import canonical_host
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.endpoint import Endpoint, address, scheme
from mlxbuild.registry.oci.remote.errors import ManifestUnknown, RegistryRefused, RepositoryUnknown
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.sources.ollama.local import local_blob, local_manifest
from mlxbuild.toolchain.sources.ollama.manifest import OllamaManifest, read_manifest
from mlxbuild.toolchain.spec.ollama_name import OllamaName

Reader = Callable[[int, int], bytes]
"""Returns the bytes at (offset, size)."""

_GUESS_BYTES = 256 * 1024
"""The size of the first range; headers are read in growing pieces, and this one usually holds them."""


class OllamaRegistry:
    """Models by name. Thread-safe."""

    def __init__(self, store: Store) -> None:
        """`store` takes downloads; its home holds the settings for registries."""
        self._store = store
        self._index = FileIndex(store.home)
        self._remotes: dict[tuple[str, str], Remote] = {}
        self._lock = Lock()

    def manifest(self, name: OllamaName, *, ask: bool = False) -> OllamaManifest:
        """The manifest of a model.

        Args:
            name: Name of the model.
            ask: Use the registry even if Ollama has the model on this machine.

        Raises:
            ManifestUnknown, RepositoryUnknown, RegistryFailure: the registry does not have it, or does not answer.
            BrokenOllamaManifest, UnsupportedOllamaModel: the manifest is invalid or unsupported.
        """
        local = self._local(name)
        if local is not None and not ask:
            return local
        try:
            return read_manifest(self._remote(name).get_manifest(name.tag).data, str(name))
        except (ManifestUnknown, RepositoryUnknown) as error:
            if local is not None:  # created on this machine and never pushed
                return local
            error.hint = "look up the name and its tags at https://ollama.com/library"
            raise
        except RegistryRefused as error:
            error.hint = "it may want Ollama's own key: `ollama pull` the model, and it is taken from Ollama's store"
            raise

    def reader(self, name: OllamaName, blob: Blob) -> Reader:
        """A function that reads ranges of a blob: from a local file with its digest, or by range requests.

        The function raises the errors of `read` except TransferCorrupt: a range has no digest.
        """
        if (path := self.place(blob)) is not None:
            return _file_reader(path)
        remote, start = self._remote(name), list[bytes]()

        def read(begin: int, size: int) -> bytes:
            if not start:
                start.append(remote.read_range(blob, 0, min(blob.size_bytes, max(_GUESS_BYTES, begin + size))))
            if begin + size <= len(start[0]):
                return start[0][begin : begin + size]
            return remote.read_range(blob, begin, min(size, blob.size_bytes - begin))

        return read

    def read(self, name: OllamaName, blob: Blob) -> bytes:
        """The content of a small blob.

        Raises:
            RemoteBlobUnknown, RegistryFailure: the registry does not return it.
            TransferCorrupt: the bytes do not match its digest.
        """
        if (path := self.place(blob)) is not None:
            return path.read_bytes()
        return self._remote(name).read_blob(blob)

    def place(self, blob: Blob) -> Path | None:
        """The path of a blob on this machine, in our store or verified in Ollama's; else None."""
        if self._store.has(blob.digest) and self._store.size(blob.digest) == blob.size_bytes:
            return self._store.path(blob.digest)
        path = local_blob(blob.digest)
        if path is None or path.stat().st_size != blob.size_bytes or self._index.content(path) != blob:
            return None
        return path

    def download(self, name: OllamaName, blob: Blob, progress: Callable[[int], None] | None = None) -> Path:
        """Download a blob into our store; an interrupted download is resumed.

        Raises:
            RemoteBlobUnknown, RegistryFailure: the registry does not return it.
            TransferCorrupt: the bytes did not match its digest twice.
            DiskFull, StoreReadOnly, StoreFailure: it cannot be stored; the downloaded part is kept where possible.
        """
        self._remote(name).download_blob(blob, self._store, progress)
        return self._store.path(blob.digest)

    def _local(self, name: OllamaName) -> OllamaManifest | None:
        data = local_manifest(name)
        if data is None:
            return None
        manifest = read_manifest(data, str(name))
        present = all(local_blob(layer.blob.digest) is not None for layer in manifest.layers)
        return manifest if present else None

    def _remote(self, name: OllamaName) -> Remote:
        with self._lock:
            key = (name.host, name.repository)
            if key not in self._remotes:
                settings = Settings.load(self._store.home)
                host = canonical_host(name.host.lower())
                endpoint = Endpoint(host, address(host), name.repository, scheme(host, settings), settings.ca)
                self._remotes[key] = Remote(endpoint, settings, self._store.home)
            return self._remotes[key]


def _file_reader(path: Path) -> Reader:
    def read(begin: int, size: int) -> bytes:
        with path.open("rb") as file:
            return os.pread(file.fileno(), size, begin)

    return read
