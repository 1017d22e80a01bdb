"""A server with the example's models, for all tests of its APIs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.settings import ServerSettings
from tests.runtime.server.running import RunningServer, running


@pytest.fixture(scope="session")
def hello_application(hello_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Application:
    """Over a copy of the example's store, which tests may change; `hello` is its int4 variant."""
    home = Home(tmp_path_factory.mktemp("server") / "home")
    shutil.copytree(hello_store.home.root, home.root, symlinks=True)
    store = Store.open(home)
    int4 = dict(store.tags.items())["hello:int4-1.0"]
    store.tags.set({"hello:latest": int4})
    return Application(home, store, ServerSettings(), Residency.of(store, _admit), None, "0.1.0")  # type: ignore[arg-type]


def _admit(_reference: Reference, digest: Digest) -> Digest:
    return digest


@pytest.fixture(scope="session")
def hello_server(hello_application: Application) -> Iterator[RunningServer]:
    """A server that answers with the example's models."""
    with running(create_app(hello_application)) as server:
        yield server


@pytest.fixture
def hello(hello_server: RunningServer) -> Iterator[httpx.Client]:
    """A client of that server."""
    with httpx.Client(base_url=hello_server.url, timeout=120) as client:
        yield client
