"""Finds the installed version of a distribution without parsing its metadata."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

_SUFFIX = ".dist-info"
_SEPARATORS = re.compile(r"[-_.]+")


@cache
def installed_version(distribution: str) -> str:
    """The version of an installed distribution, taken from the name of its `name-version.dist-info` folder.

    PyPA, "Recording installed projects": installers write name and version there in normalized form.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    found = _versions().get(_normal(distribution))
    if found is not None:
        return found
    from importlib.metadata import version  # importing it takes as long as all other imports of a cached build

    return version(distribution)


@cache
def _versions() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for folder in sys.path:
        with suppress(OSError):
            for entry in os.listdir(folder):  # noqa: PTH208  # names are all that is wanted
                if entry.endswith(_SUFFIX):
                    name, _, version = entry.removesuffix(_SUFFIX).partition("-")
                    found.setdefault(_normal(name), version)
    return found


def _normal(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()
