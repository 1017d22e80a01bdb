"""Lays an artifact out as a folder of links into the store, for MLX and other tools. Nothing is copied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from mlxbuild.registry.artifact.files import ArtifactFile
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.errors import BlobCorrupt
from mlxbuild.registry.store.layout import Store


def model_folder(store: Store, digest: Digest) -> Path:
    """The folder of an artifact's files as relative links, created if missing and repaired if wrong.

    It is created atomically; an existing folder that is right is not written to.

    Raises:
        BlobMissing: a blob of the artifact is not in the store.
        BlobCorrupt: a blob has the wrong size. Contents are not hashed.
        InvalidManifest, UnsafePath: the artifact cannot be opened.
        DiskFull, StoreReadOnly, StoreFailure: the folder cannot be made.
    """
    artifact = Artifact.open(store, digest)
    folder = store.home.models / digest.hex
    links = {file.path: _target(store, file, folder) for file in artifact.files}
    with disk_errors(folder):
        if folder.is_dir() and not folder.is_symlink():
            if not _is_right(folder, links):
                _mend(folder, links, store.home.cache / "tmp")
        else:
            _make(folder, links, store.home.cache / "tmp")
    return folder


def _target(store: Store, file: ArtifactFile, folder: Path) -> str:
    """The target of a file's link, relative so that the whole home can be moved."""
    if (found := store.size(file.blob.digest)) != file.blob.size_bytes:
        message = f"{file.path} has {found} bytes, not {file.blob.size_bytes}"
        raise BlobCorrupt(file.blob.digest, message, where=str(store.path(file.blob.digest)))
    return os.path.relpath(store.path(file.blob.digest), (folder / file.path).parent)


def _is_right(folder: Path, links: Mapping[str, str]) -> bool:
    return _files(folder) == set(links) and all(_points(folder / path, target) for path, target in links.items())


def _files(folder: Path) -> set[str]:
    """The paths of everything in a folder except folders."""
    return {
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, folders, names in os.walk(folder)
        for name in [*names, *(name for name in folders if (Path(parent) / name).is_symlink())]
    }


def _points(path: Path, target: str) -> bool:
    return path.is_symlink() and os.readlink(path) == target  # noqa: PTH115  # as text


def _make(folder: Path, links: Mapping[str, str], temporary_folder: Path) -> None:
    draft = temporary_folder / f"{os.getpid()}-{os.urandom(8).hex()}"
    draft.mkdir(parents=True)
    try:
        for path, target in links.items():
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            (draft / path).symlink_to(target)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        try:
            draft.rename(folder)
        except OSError:
            # Another process was first; its folder is used, and repaired if needed.
            if not folder.is_dir():
                raise
            if not _is_right(folder, links):
                _mend(folder, links, temporary_folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _mend(folder: Path, links: Mapping[str, str], temporary_folder: Path) -> None:
    """Repair a folder link by link, so that a process that is using it keeps finding every correct file.

    Files that do not belong there are removed: loaders take every `model*.safetensors` that they find.
    """
    for path in _files(folder) - set(links):
        (folder / path).unlink(missing_ok=True)
    temporary_folder.mkdir(parents=True, exist_ok=True)
    for path, target in links.items():
        link = folder / path
        if _points(link, target):
            continue
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = temporary_folder / f"{os.getpid()}-{os.urandom(8).hex()}"
        fresh.symlink_to(target)
        fresh.replace(link)
