"""Exports an artifact as a plain model folder for mlx_lm, transformers and people."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlxbuild.registry.artifact.files import ArtifactFile, FileRole
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.errors import BlobCorrupt
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.interchange.errors import FolderNotEmpty

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export."""

    folder: Path
    files: int
    size_bytes: int
    linked: int
    """Number of files that are hard links to the store."""


def export(store: Store, digest: Digest, folder: Path, *, force: bool = False, copies: bool = False) -> Exported:
    """Write the files of an artifact into a folder, every byte verified. A new folder appears complete or not at all.

    Weights are hard links to read-only blobs if the file system supports that, and copies otherwise; all other files
    are copies that may be edited.

    Args:
        store: The store that holds the artifact.
        digest: Digest of its manifest.
        folder: The target folder; created if missing.
        force: Write into a folder that is not empty: files with the same path are replaced and other weights removed,
            because loaders load all weights that they find.
        copies: Do not create hard links.

    Raises:
        FolderNotEmpty: the folder has content, or is a file.
        BlobMissing, BlobCorrupt, InvalidManifest, UnsafePath: the artifact is incomplete or invalid.
        DiskFull, StoreReadOnly, StoreFailure: the folder cannot be written.
    """
    artifact = Artifact.open(store, digest)
    target = folder.resolve()
    _check_target(target, force=force)
    draft = target.parent / f".{target.name}.{secrets.token_hex(8)}"
    try:
        with disk_errors(target):
            draft.mkdir(parents=True)
            with ThreadPoolExecutor(thread_name_prefix="export") as pool:
                linked = sum(pool.map(lambda file: _place(store, file, draft / file.path, copies), artifact.files))
            if target.is_dir():  # keep the folder even if empty: it may be somebody's working directory
                _merge(draft, target, artifact)
            else:
                draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    size_bytes = sum(file.blob.size_bytes for file in artifact.files)
    return Exported(folder, len(artifact.files), size_bytes, linked)


def _check_target(target: Path, *, force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise FolderNotEmpty("a file lies where the folder should be", where=str(target), hint="name another folder")
    if not force and target.is_dir() and any(target.iterdir()):
        raise FolderNotEmpty(
            "the folder is not empty",
            where=str(target),
            hint="name a new one, or write into it with --force, which also removes other weights from it",
        )


def _place(store: Store, file: ArtifactFile, path: Path, copies: bool) -> bool:
    """Write one file; returns whether it is a hard link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blob = store.path(file.blob.digest)
    if file.role is FileRole.WEIGHT and not copies and _linked(path, blob):
        store.verify(file.blob.digest)
        return True
    _copy(blob, path, file)
    return False


def _linked(path: Path, blob: Path) -> bool:
    try:
        path.hardlink_to(blob)
    except OSError:  # another file system, or one without hard links
        return False
    return True


def _copy(blob: Path, path: Path, file: ArtifactFile) -> None:
    hasher = hashlib.sha256()
    with blob.open("rb", buffering=0) as source, path.open("xb", buffering=0) as target:
        while piece := source.read(_PIECE_BYTES):
            hasher.update(piece)
            _write_all(target.write, piece)
    if hasher.hexdigest() != file.blob.digest.hex:
        raise BlobCorrupt(file.blob.digest, f"the bytes of {file.path} are damaged", where=str(blob))


def _write_all(write: Callable[[memoryview], int | None], piece: bytes) -> None:
    view = memoryview(piece)
    while view.nbytes:
        view = view[write(view) or 0 :]


def _merge(draft: Path, target: Path, artifact: Artifact) -> None:
    ours = {file.path for file in artifact.files}
    for weights in target.glob("*.safetensors"):
        if weights.name not in ours:
            weights.unlink()
    for file in artifact.files:
        (target / file.path).parent.mkdir(parents=True, exist_ok=True)
        (draft / file.path).replace(target / file.path)
