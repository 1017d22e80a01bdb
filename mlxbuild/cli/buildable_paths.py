"""Says what a path is that was written where a command takes the name of an artifact, and how to build from it."""

from __future__ import annotations

import shlex
from pathlib import Path

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.toolchain.interchange.from_gguf import name_of
from mlxbuild.toolchain.interchange.recognition import ImportFormat, recognise
from mlxbuild.toolchain.spec.discovery import RECIPE_NAME
from mlxbuild.toolchain.spec.initial import slug


def described(path: Path) -> tuple[str, str] | None:
    """What a path is, and the command for it with a verb; None if nothing can be built from it."""
    try:
        return _described(path)
    except (OSError, MlxbuildError):
        return None


def _described(path: Path) -> tuple[str, str]:
    quoted = shlex.quote(str(path))
    if (path / RECIPE_NAME).is_file():
        return "a folder with a recipe", f"`mlxbuild create {quoted}` builds"
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return "a recipe", f"`mlxbuild create {quoted}` builds"
    form, file = recognise(path)
    if form in (ImportFormat.ARCHIVE, ImportFormat.LAYOUT):
        return f"an OCI {form}", f"`mlxbuild import {quoted}` imports"
    if form is ImportFormat.KITFILE:
        return "a Kitfile", f"`mlxbuild import {quoted}` prints a recipe; build"
    if form is ImportFormat.MODELFILE:
        return "a Modelfile", f"`mlxbuild create {slug(file.absolute().parent.name)} -f {quoted}` builds"
    if form is ImportFormat.GGUF and path.is_file():
        return "a GGUF file", f"`mlxbuild create {name_of(path.name)} -f {quoted}` builds"
    kind = "a model folder" if form is ImportFormat.FOLDER else "a folder with GGUF files"
    return kind, f"`mlxbuild create {slug(path.absolute().name)} -f {quoted}` builds"
