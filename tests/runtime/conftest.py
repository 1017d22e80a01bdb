"""What the runtime's tests share: one tiny model, the example in a store, a loop. Tests only read them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import Descriptor
from mlxbuild.runtime.loaded_model import LoadedModel
from tests.runtime.tiny_folders import write_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random qwen3 in float32."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def tiny(tiny_folder: Path) -> LoadedModel:
    """The same, opened anew: nothing in its prompt cache."""
    return LoadedModel(tiny_folder)


@pytest.fixture(scope="session")
def hello_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with the example's variants, `hello:int4@1.0`, `hello:int8@1.0` and `hello:none@1.0`; only to be read."""
    home = Home(tmp_path_factory.mktemp("hello") / "home")
    done = subprocess.run(
        [Path(sys.executable).with_name("mlxbuild"), "create", "-f", "examples/hello", "--locked", "--no-gates"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"MLXBUILD_HOME": str(home.root)},
        capture_output=True,
        text=True,
        check=True,
    )
    store = Store.open(home)
    for line in done.stdout.splitlines():
        name, digest = line.split()
        blob = Digest.parse(digest)
        descriptor = Descriptor(blob, store.size(blob), "application/vnd.oci.image.manifest.v1+json")
        variant = name.partition("@")[0]
        store.tags.set({Reference.parse(name).store_name: descriptor, variant: descriptor})
    return store


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """An event loop that runs as long as a module's tests, so that they can share processes."""
    with asyncio.Runner() as runner:
        yield runner
