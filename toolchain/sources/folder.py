"""Sources that are local folders: their files are listed and read in place, never copied."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from mlxbuild.registry.artifact.files import UnsafePath
from mlxbuild.toolchain.sources.errors import SourceMissing
from mlxbuild.toolchain.sources.selection import SIDE_FILES, select


def folder_files(folder: Path, *, role: str, include: Sequence[str] = ()) -> tuple[str, ...]:
    """The files to take from a folder: relative paths with `/`, sorted.

    Raises:
        SourceMissing: there is no such folder, or it cannot be listed.
        UnsafePath: a file to take is a link that leads out of the folder, and the role is not a base.
        PickledWeights, SourceIncomplete: as `select`.
    """
    try:
        subfolders = [pattern.split("/")[0] for pattern in include or SIDE_FILES if "/" in pattern]
        listed = _walk(folder, subfolders, follow_links=role.startswith("base"))
    except OSError as error:
        raise SourceMissing(
            f"the folder cannot be listed: {error.strerror}",
            where=str(folder),
            hint="paths in a recipe are relative to the recipe",
        ) from error
    taken = select(listed, role=role, include=include, where=str(folder))
    for path in taken:
        resolve(folder, path, role)
    return taken


def resolve(folder: Path, path: str, role: str) -> Path:
    """The path of a file of a folder source. Links of a base are followed wherever they lead: to the blobs of the
    Hub's cache, or to another disk.

    Raises:
        UnsafePath: it is a link that leads out of the folder, and the role is not a base.
    """
    return folder / path if role.startswith("base") else resolve_inside(folder, path)


def resolve_inside(folder: Path, path: str) -> Path:
    """The path of a file of a folder source, which must lie inside of the folder.

    Raises:
        UnsafePath: it is a link that leads out of the folder.
    """
    place = folder / path
    if not place.resolve().is_relative_to(folder.resolve()):
        raise UnsafePath(
            f"`{path}` is a link that leads out of the folder",
            where=str(folder),
            hint="copy the file there; a repository of the Hub is named by `hf_repo`",
        )
    return place


def _walk(folder: Path, subfolders: Sequence[str], prefix: str = "", *, follow_links: bool = False) -> list[str]:
    """Files of a folder and of the subfolders that a glob names; hidden names are skipped.

    With `follow_links`, subfolders at the top level may be links; at deeper levels, links could form a cycle.
    """
    found: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_file():
                found.append(prefix + entry.name)
            elif entry.is_dir(follow_symlinks=follow_links) and any(
                fnmatchcase(entry.name, glob) for glob in subfolders
            ):
                found += _walk(folder / entry.name, ["*"], f"{prefix}{entry.name}/")
    return found
