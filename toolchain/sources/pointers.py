"""Detects Git LFS pointers in place of files, which a clone without `git lfs` has."""

from __future__ import annotations

from pathlib import Path

from mlxbuild.registry.core.errors import UserError

_BEGINNING = b"version https://git-lfs"
"""The first bytes of every pointer: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""
_LARGEST_BYTES = 1024


class LfsPointer(UserError):
    """A file of a source is a Git LFS pointer instead of the file that it points to."""

    code = "lfs-pointer"


def refuse_pointer(place: Path, path: str) -> None:
    """Check that a file is not a Git LFS pointer; a missing file is accepted.

    Args:
        place: Path of the file.
        path: Name of the file in the source.

    Raises:
        LfsPointer: it is a pointer.
    """
    if not place.is_file() or place.stat().st_size > _LARGEST_BYTES:
        return
    with place.open("rb") as file:
        if file.read(len(_BEGINNING)) == _BEGINNING:
            raise LfsPointer(
                f"`{path}` is a pointer of Git LFS, not the file itself",
                where=str(place),
                hint="run `git lfs pull` in its repository, or download the file",
            )
