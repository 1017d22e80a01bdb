"""A runner that the tests of this folder share, and where to make others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxbuild.registry.artifact.folder import model_folder
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.runner.client import Runner


@pytest.fixture(scope="session")
def folder(hello_store: Store) -> Path:
    """The example, quantized."""
    return model_folder(hello_store, hello_store.tags.resolve(Reference.parse("hello:int4@1.0")))


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runners have their folders."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def runner(loop: asyncio.Runner, folder: Path, scratch: Path) -> Iterator[Runner]:
    """One that holds the example; begun by a process that has a secret."""
    os.environ["PLANTED_TOKEN"] = "secret"
    try:
        runner = loop.run(Runner.start(folder, scratch))
    finally:
        del os.environ["PLANTED_TOKEN"]
    yield runner
    loop.run(runner.stop())
