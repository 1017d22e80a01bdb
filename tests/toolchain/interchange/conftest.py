"""A store with an artifact, and one that is to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxbuild.registry.artifact import modelpack
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from tests.toolchain.interchange.archives import NAME, build


@pytest.fixture
def manifest(store: Store) -> Blob:
    """Of an artifact with a name."""
    blob = build(store)
    store.tags.set({NAME: modelpack.tag_descriptor(blob)})
    return blob


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """An empty one."""
    return Store.open(Home(tmp_path / "other"))
