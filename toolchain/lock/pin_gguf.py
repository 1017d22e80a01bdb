"""Pins a GGUF source: its files by digest, of which only the headers are read.

The header's metadata is converted to the documents that a model folder would have. They are stored and locked as
derived files; if they are missing later, they are derived again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.suggestions import did_you_mean
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.architecture import UnsupportedArchitecture, module_name
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource, LockedTensor
from mlxbuild.toolchain.sources.errors import DuplicateTensor, SourceMissing
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.sources.folder import resolve
from mlxbuild.toolchain.sources.gguf.parts import GgufFiles, OpenFile, local_file, read_gguf_files
from mlxbuild.toolchain.sources.gguf.split import split_paths
from mlxbuild.toolchain.sources.hub import Hub, HubFile
from mlxbuild.toolchain.sources.pointers import refuse_pointer
from mlxbuild.toolchain.spec.resolved import FolderSource, HubSource


def pin_gguf_folder(
    role: str, source: FolderSource, index: FileIndex, store: Store, *, tokenizer: bool
) -> LockedSource:
    """Pin a local GGUF file with all its parts.

    Args:
        role: Role of the source in the lock.
        source: The source that names the file.
        index: Saves hashing files that have not changed.
        store: Stores the derived documents.
        tokenizer: Whether the tokenizer is derived, too; it is not if the recipe names another one.

    Raises:
        SourceMissing: a part is missing.
        UnsafeWeights, UnsupportedGguf, DuplicateTensor: the files cannot be used.
        UserError: as `derive`.
    """
    paths = split_paths(source.gguf or "")
    places = {path: resolve(source.path, path, role) for path in paths}
    for path, place in places.items():
        refuse_pointer(place, path)
        if not place.is_file():
            raise SourceMissing(
                f"`{path}` is not there", where=str(source.path), hint="all parts of a split file lie side by side"
            )
    files = read_gguf_files(paths, lambda path: local_file(places[path]), str(source.path), tokenizer=tokenizer)
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        blobs = dict(zip(paths, threads.map(index.content, places.values()), strict=True))
    return _locked(role, source, None, blobs, files, store, index)


def pin_gguf_hub(
    role: str, source: HubSource, hub: Hub, commit: str, index: FileIndex, store: Store, *, tokenizer: bool
) -> LockedSource:
    """Pin a GGUF file of a Hub repository with all its parts. The Hub lists sizes and digests; headers are read by
    range requests, or from a verified local copy.

    Args and errors as for `pin_gguf_folder` and `Hub.files`.
    """
    where = f"{source.repository}@{source.revision}"
    listed = {file.path: file for file in hub.files(source.repository, commit, recursive=True)}
    paths = split_paths(source.gguf or "")
    for path in paths:
        if path not in listed:
            known = sorted(name for name in listed if name.endswith(".gguf"))
            raise SourceMissing(
                f"`{source.repository}` has no file `{path}`",
                where=where,
                hint=did_you_mean(path, known) or f"its GGUF files: {', '.join(known[:8]) or 'none'}",
            )
    blobs = {path: _hub_blob(hub, source.repository, commit, listed[path], index) for path in paths}

    @contextmanager
    def opener(path: str) -> Iterator[OpenFile]:
        for copy in hub.cached(source.repository, commit, path, blobs[path].digest):
            if index.known(copy) == blobs[path]:
                with local_file(copy) as file:
                    yield file
                return
        yield OpenFile(hub.reader(source.repository, commit, path), blobs[path].size_bytes, f"{where}/{path}")

    files = read_gguf_files(paths, opener, where, tokenizer=tokenizer)
    return _locked(role, source, commit, blobs, files, store, index)


def _hub_blob(hub: Hub, repository: str, commit: str, file: HubFile, index: FileIndex) -> Blob:
    if file.sha256 is None:  # the file is too small for LFS, so its sha256 is unknown
        return index.content(hub.download(repository, commit, file.path), immutable=True)
    return Blob(file.sha256, file.size_bytes)


def _locked(
    role: str,
    source: FolderSource | HubSource,
    commit: str | None,
    blobs: Mapping[str, Blob],
    gguf: GgufFiles,
    store: Store,
    index: FileIndex,
) -> LockedSource:
    check_architecture(gguf.model.documents["config.json"], gguf.parts[0].path)
    files = [LockedFile(path, blob) for path, blob in blobs.items()]
    for path, content in gguf.model.documents.items():
        blob = store.put(content)
        index.content(store.path(blob.digest), immutable=True)
        files.append(LockedFile(path, blob, derived=True))
    return LockedSource(
        role=role,
        kind="hub" if isinstance(source, HubSource) else "folder",
        identity=source.repository if isinstance(source, HubSource) else source.written,
        requested=source.revision if isinstance(source, HubSource) else None,
        pinned=commit,
        files=tuple(sorted(files, key=lambda file: file.path)),
        tensors=gguf_tensors(gguf),
        gguf=source.gguf,
        header=gguf.digest,
    )


def gguf_tensors(gguf: GgufFiles) -> tuple[LockedTensor, ...]:
    """The tensor table of a model in GGUF files, with the tensor names of the built model.

    Raises:
        DuplicateTensor: two tensors have the same name in the model.
    """
    tensors: dict[str, LockedTensor] = {}
    for part in gguf.parts:
        for tensor in part.header.tensors:
            place = gguf.model.placements.get(tensor.name)
            if place is None:
                continue
            if place.name in tensors:
                raise DuplicateTensor(
                    f"two tensors are `{place.name}` in the model, one of them `{tensor.name}`", where=part.path
                )
            tensors[place.name] = LockedTensor(
                name=place.name,
                dtype=tensor.type,
                shape=(1, *tensor.shape) if place.leading_one else tensor.shape,
                file=part.path,
                begin=tensor.begin,
                size_bytes=tensor.size_bytes,
                permuted_heads=place.permuted_heads,
                offset=place.offset,
            )
    return tuple(sorted(tensors.values(), key=lambda tensor: (tensor.file, tensor.name)))


def check_architecture(document: bytes, where: str) -> None:
    """Refuse an architecture that cannot be built, before its weights are fetched.

    Raises:
        UnsupportedArchitecture: mlx-lm has no code for the architecture in that config.json.
    """
    config: dict[str, Any] = json.loads(document)
    try:
        module_name(config)
    except UnsupportedArchitecture as error:
        error.where = where
        raise
