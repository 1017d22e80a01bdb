"""Finds the recipes in a folder; does not read them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

RECIPE_NAME = "ModelSpec.yaml"
_GIT_SECONDS = 10
"""How long git may take to say what it ignores."""


def recipes_of(folder: Path) -> tuple[Path, ...]:
    """The recipe of a folder itself, or else all recipes below it, sorted by path.

    Hidden folders, links to folders, and what git ignores are left out.
    """
    own = folder / RECIPE_NAME
    return (own,) if own.is_file() else tuple(_without_ignored(folder, _below(folder)))


def _below(folder: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if RECIPE_NAME in files:
            found.append(Path(parent, RECIPE_NAME))
    return sorted(found)


def _without_ignored(folder: Path, paths: list[Path]) -> Iterable[Path]:
    """The paths that git does not ignore; all of them outside of a repository, without git, or if it takes too long."""
    if not paths:
        return paths
    names = [os.fsencode(os.path.relpath(path, folder)) for path in paths]
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(folder), "check-ignore", "-z", "--stdin"],
            input=b"\0".join(names),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=_GIT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return paths
    ignored = set(done.stdout.split(b"\0"))
    return [path for path, name in zip(paths, names, strict=True) if name not in ignored]
