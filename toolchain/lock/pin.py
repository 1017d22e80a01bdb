"""Pins a source: lists its files with sizes and digests, and the tensors that they declare."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.architecture import UnsupportedArchitecture, module_name
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource, LockedTensor
from mlxbuild.toolchain.sources.errors import CustomCode, DuplicateTensor, SourceCorrupt, SourceIncomplete
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.sources.folder import folder_files, resolve
from mlxbuild.toolchain.sources.hub import Hub, HubFile
from mlxbuild.toolchain.sources.pointers import refuse_pointer
from mlxbuild.toolchain.sources.selection import ARTIFACT_FILES, select
from mlxbuild.toolchain.spec.resolved import ArtifactSource, FolderSource, HubSource
from mlxbuild.toolchain.weights.peft.configuration import PeftConfiguration
from mlxbuild.toolchain.weights.peft.parts import parts_of
from mlxbuild.toolchain.weights.peft.source import ADAPTER_CONFIGURATION, PEFT_WEIGHTS, is_peft
from mlxbuild.toolchain.weights.safetensors import HeaderTensor, read_file_header, read_header

_REQUESTS_AT_ONCE = 8
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class _Pinned:
    """What is known about a file before its weights are read."""

    path: str
    blob: Blob
    place: Path | None
    """Path on this machine, or None."""
    header: tuple[HeaderTensor, ...] = ()


def pin_folder(role: str, source: FolderSource, index: FileIndex) -> LockedSource:
    """Pin a folder by the digests of its files; files in the index are not hashed again.

    Raises:
        SourceMissing, UnsafePath, PickledWeights, SourceIncomplete, CustomCode, DuplicateTensor, UnsafeWeights:
            the folder cannot be used.
    """

    def pin(path: str) -> _Pinned:
        place = resolve(source.path, path, role)
        refuse_pointer(place, path)
        return _Pinned(path, index.content(place), place, _header_of(place))

    paths = folder_files(source.path, role=role)
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        files = tuple(threads.map(pin, paths))
    return _locked(role, "folder", source.written, None, None, (), files, str(source.path))


def pin_artifact(role: str, source: ArtifactSource, store: Store, digest: Digest) -> LockedSource:
    """Pin an artifact in the store, which lists its files by digest itself.

    Raises:
        BlobMissing, BlobCorrupt, InvalidManifest: the artifact cannot be read.
        PickledWeights, SourceIncomplete, CustomCode, DuplicateTensor, UnsafeWeights: it cannot be used.
    """
    blobs = {file.path: file.blob for file in Artifact.open(store, digest).files}
    where = str(source.reference)
    files = []
    for path in select(blobs, role=role, include=(), where=where, more=ARTIFACT_FILES):
        place = store.path(blobs[path].digest)
        files.append(_Pinned(path, blobs[path], place, _header_of(place, path)))
    return _locked(role, "artifact", where, None, str(digest), (), files, where)


def pin_hub(role: str, source: HubSource, hub: Hub, commit: str, index: FileIndex) -> LockedSource:
    """Pin a commit of a Hub repository: small files are downloaded; for weights, only the headers are read.

    Raises:
        RepositoryMissing, GatedRepository, RevisionMissing, AccessDenied, HubUnreachable, HubRateLimited, Offline,
        SourceCorrupt: the Hub does not return what it lists.
        UnsafePath, PickledWeights, SourceIncomplete, CustomCode, DuplicateTensor, UnsafeWeights: the repository
            cannot be used.
    """
    where = f"{source.repository}@{source.revision}"
    listed = {file.path: file for file in hub.files(source.repository, commit, recursive=True)}
    paths = select(listed, role=role, include=source.include, where=where)

    def pin(path: str) -> _Pinned:
        return _pin_hub_file(hub, source.repository, commit, listed[path], index)

    with cancellation.threads(_REQUESTS_AT_ONCE) as threads:
        files = tuple(threads.map(pin, paths))
    return _locked(role, "hub", source.repository, source.revision, commit, source.include, files, where)


def _pin_hub_file(hub: Hub, repository: str, commit: str, file: HubFile, index: FileIndex) -> _Pinned:
    blob = None if file.sha256 is None else Blob(file.sha256, file.size_bytes)
    is_weights = file.path.endswith(".safetensors")
    copies = (path for path in hub.cached(repository, commit, file.path, file.sha256))
    place = next((path for path in copies if blob is not None and index.known(path) == blob), None)
    if blob is None or (
        place is None and not is_weights and file.path in ("config.json", ADAPTER_CONFIGURATION, _INDEX)
    ):
        place = hub.download(repository, commit, file.path)
        if blob is None and not _is_git_blob(place, file.git_id):
            place = hub.download(repository, commit, file.path, again=True)
            if not _is_git_blob(place, file.git_id):
                raise SourceCorrupt(
                    f"the Hub's bytes of `{file.path}` are not those that it lists",
                    where=f"{repository}@{commit}/{file.path}",
                    hint="try again; check HF_ENDPOINT",
                )
        refuse_pointer(place, file.path)
        blob = index.content(place, immutable=True)
    if not is_weights:
        return _Pinned(file.path, blob, place)
    if place is not None:
        return _Pinned(file.path, blob, place, _header_of(place, file.path))
    read = hub.reader(repository, commit, file.path)
    header = read_header(read, blob.size_bytes, f"{repository}@{commit}/{file.path}")
    return _Pinned(file.path, blob, None, header)


def _locked(
    role: str,
    kind: Any,
    name: str,
    requested: str | None,
    pinned: str | None,
    include: tuple[str, ...],
    files: Iterable[_Pinned],
    where: str,
) -> LockedSource:
    by_path = {file.path: file for file in files}
    _check_config(role, by_path, where)
    if role.startswith("adapter") and is_peft(by_path):
        _check_adapter(by_path, where)
    _check_index(by_path, where)
    return LockedSource(
        role=role,
        kind=kind,
        identity=name,
        requested=requested,
        pinned=pinned,
        files=tuple(LockedFile(path, by_path[path].blob) for path in sorted(by_path)),
        tensors=_tensors(by_path, where),
        include=include,
    )


def _tensors(files: Mapping[str, _Pinned], where: str) -> tuple[LockedTensor, ...]:
    seen: dict[str, str] = {}
    tensors = []
    for path in sorted(files):
        for tensor in files[path].header:
            if (other := seen.setdefault(tensor.name, path)) != path:
                raise DuplicateTensor(
                    f"`{other}` and `{path}` both hold the tensor `{tensor.name}`",
                    where=where,
                    hint="keep one of the files in the folder, or name it with `include`",
                )
            tensors.append(LockedTensor(tensor.name, tensor.dtype, tensor.shape, path, tensor.begin, tensor.size_bytes))
    return tuple(sorted(tensors, key=lambda tensor: (tensor.file, tensor.name)))


def _check_config(role: str, files: Mapping[str, _Pinned], where: str) -> None:
    config = _json_object(files.get("config.json"), where)
    if config.get("model_file") is not None:
        raise CustomCode(
            "`config.json` names a Python file to load the model with (`model_file`)",
            where=where,
            hint="code of a source is never run: use a model of an architecture that mlx-lm knows",
        )
    if role.startswith("base") and "model_type" in config:
        _check_architecture(config, where)


def _check_architecture(config: Mapping[str, Any], where: str) -> None:
    """Refuse an architecture that cannot be built, before its weights are fetched."""
    try:
        module_name(config)
    except UnsupportedArchitecture as error:
        error.where = where
        raise


def _check_adapter(files: Mapping[str, _Pinned], where: str) -> None:
    """Refuse a PEFT adapter whose configuration or tensor table cannot be merged into any base."""
    config = _json_object(files.get(ADAPTER_CONFIGURATION), where)
    configuration = PeftConfiguration.of(config, f"{where}/{ADAPTER_CONFIGURATION}")
    parts_of(configuration, files[PEFT_WEIGHTS].header, f"{where}/{PEFT_WEIGHTS}")


def _check_index(files: Mapping[str, _Pinned], where: str) -> None:
    shards = _json_object(files.get(_INDEX), where).get("weight_map")
    for shard in sorted(set(shards.values())) if isinstance(shards, dict) else ():
        if shard not in files:
            raise SourceIncomplete(
                f"`{_INDEX}` names the shard `{shard}`, which is not there",
                where=where,
                hint="finish the download, or remove `include`",
            )


def _json_object(file: _Pinned | None, where: str) -> dict[str, Any]:
    if file is None or file.place is None:
        return {}
    try:
        value = json.loads(file.place.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SourceIncomplete(
            f"`{file.path}` is not JSON ({error})", where=where, hint="get the file again from its publisher"
        ) from error
    if not isinstance(value, dict):
        raise SourceIncomplete(f"`{file.path}` is not a JSON object", where=where, hint="get it again")
    return value


def _header_of(place: Path, path: str | None = None) -> tuple[HeaderTensor, ...]:
    return read_file_header(place) if (path or place.name).endswith(".safetensors") else ()


def _is_git_blob(path: Path, git_id: str) -> bool:
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == git_id
