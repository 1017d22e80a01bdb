"""Recognises pointers of Git LFS that lie in place of files: a clone without `git lfs` has nothing else."""

from __future__ import annotations

from pathlib import Path

from mlxbuild.registry.core.errors import UserError

_BEGINNING = b"version https://git-lfs"
"""Of every pointer: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""
_LARGEST_BYTES = 1024


class LfsPointer(UserError):
    """A file of a source is a pointer of Git LFS, and not the file that it points to."""

    code = "lfs-pointer"


def refuse_pointer(place: Path, path: str) -> None:
    """Do nothing if a file is no pointer; one that is not there is none.

    Args:
        place: Where it lies.
        path: Its name in the source.

    Raises:
        LfsPointer: it is one.
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
