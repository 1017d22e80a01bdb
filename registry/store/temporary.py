"""A store for the time of one command, on the filesystem of the real one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.layout import Store


@contextmanager
def temporary_store(home: Home, purpose: str) -> Iterator[Store]:
    """An empty store, which is removed at the end; garbage collection removes what a killed process leaves of it.

    Raises:
        DiskFull, StoreReadOnly, StoreFailure: it cannot be made.
    """
    folder = home.cache / "tmp"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=folder))
    try:
        yield Store.open(Home(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)
