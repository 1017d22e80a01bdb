"""A store that the tests of this folder may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store


@pytest.fixture
def own_store(hello_store: Store, tmp_path: Path) -> Store:
    """A copy of the example's store."""
    shutil.copytree(hello_store.home.store, tmp_path / "own" / "store")
    return Store.open(Home(tmp_path / "own"))
