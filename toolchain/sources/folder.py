"""Sources that are local folders: listed and read in place, never copied."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from registry.artifact.files import UnsafePath
from toolchain.sources.errors import SourceMissing
from toolchain.sources.selection import SIDE_FILES, select


def folder_files(folder: Path, *, role: str, include: Sequence[str] = ()) -> tuple[str, ...]:
    """The files to take from a folder: relative paths with `/`, sorted.

    Raises:
        SourceMissing: there is no such folder, or it cannot be listed.
        UnsafePath: a file to take is a link out of the folder.
        PickledWeights, SourceIncomplete: as `select`.
    """
    try:
        listed = _walk(folder, [pattern.split("/")[0] for pattern in include or SIDE_FILES if "/" in pattern])
    except OSError as error:
        raise SourceMissing(
            f"the folder cannot be listed: {error.strerror}",
            where=str(folder),
            hint="paths in a recipe are relative to the recipe",
        ) from error
    taken = select(listed, role=role, include=include, where=str(folder))
    for path in taken:
        if (folder / path).is_symlink():  # the walk itself follows no link
            resolve_inside(folder, path)
    return taken


def resolve_inside(folder: Path, path: str) -> Path:
    """The place of a file of a folder source.

    Raises:
        UnsafePath: it is a link that leads out of the folder.
    """
    place = folder / path
    if not place.resolve().is_relative_to(folder.resolve()):
        raise UnsafePath(
            f"`{path}` is a link that leads out of the folder",
            where=str(folder),
            hint="copy the file there; for a folder of the Hub's cache use `hf_repo`, for an artifact use `from`",
        )
    return place


def _walk(folder: Path, subfolders: Sequence[str], prefix: str = "") -> list[str]:
    """Files of a folder and of those subfolders that a glob names; hidden names are passed over."""
    found: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_file():
                found.append(prefix + entry.name)
            elif entry.is_dir(follow_symlinks=False) and any(fnmatchcase(entry.name, glob) for glob in subfolders):
                found += _walk(folder / entry.name, ["*"], f"{prefix}{entry.name}/")
    return found
