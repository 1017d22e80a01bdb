"""Programs of other projects that tests check against. What they are used for stands in the tests."""

from __future__ import annotations

import os
import shutil

import pytest

_SOURCES = dict.fromkeys(("oras", "cosign", "referrers-registry"), "`make interop` builds it") | dict.fromkeys(
    ("zot", "modctl"), "put the program of one of its releases on PATH, or into .cache/interop/bin"
)


def find(name: str) -> str:
    """The path of a program, which CI has to have (`MLXBUILD_REQUIRE_REAL_PARTS=1`); elsewhere its tests are left."""
    path = shutil.which(name)
    if path is None:
        reason = f"the program `{name}` is not installed: {_SOURCES.get(name, f'`apt-get install {name}`')}"
        if os.environ.get("MLXBUILD_REQUIRE_REAL_PARTS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
