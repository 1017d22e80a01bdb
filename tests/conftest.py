"""What every floor's tests share: a home of their own, and the real tools that they check against."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.home import Home
from registry.store.layout import Store


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Store:
    """A new store in that home."""
    return Store.open(home)


@pytest.fixture
def real_tool() -> Callable[[str], str]:
    """Finds a program of another project, which CI has to have (`MLXBUILD_REQUIRE_REAL_PARTS=1`)."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            reason = f"the program `{name}` is not installed: `apt-get install {name}`"
            if os.environ.get("MLXBUILD_REQUIRE_REAL_PARTS") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find
