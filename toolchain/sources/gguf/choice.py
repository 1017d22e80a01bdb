"""Chooses which of the GGUF files of a folder or repository is the model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from mlxbuild.registry.core.errors import UserError

_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")
_PROJECTOR = re.compile(r"(^|[-_.])mmproj([-_.]|$)", re.IGNORECASE)
_SHOWN = 30


class SeveralFiles(UserError):
    """There are several GGUF files, each with a model of its own, and the recipe names none."""

    code = "several-files"


def models_among(paths: Iterable[str]) -> tuple[str, ...]:
    """The GGUF files that a base can name: all but later parts of split models, and projectors."""
    return tuple(
        path
        for path in sorted(paths)
        if path.endswith(".gguf") and not _LATER_PART.search(path) and not _PROJECTOR.search(PurePosixPath(path).name)
    )


def choose(paths: Iterable[str], where: str, hint: str = "name one with --file") -> str | None:
    """The only model among some files; None if there is none.

    Raises:
        SeveralFiles: there is more than one; the message lists them.
    """
    models = models_among(paths)
    if len(models) > 1:
        more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
        listed = ", ".join(f"`{path}`" for path in models[:_SHOWN])
        raise SeveralFiles(f"there are {len(models)} GGUF files: {listed}{more}", where=where, hint=hint)
    return models[0] if models else None
