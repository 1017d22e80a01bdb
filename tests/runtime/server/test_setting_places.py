"""A bound that is met names the place where its setting counts, which is not always the file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.residency.errors import ServerBusy
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.residency.setting_origins import SettingOrigins
from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.connections.limit import ConnectionLimit
from mlxbuild.runtime.server.failures import TooManyConnections
from mlxbuild.runtime.server.long_task import TaskThreads
from mlxbuild.runtime.server.settings import ServerSettings
from tests.runtime.server.running import running

BOUNDS = """body_limit blob_limit hosts origins requests_per_minute max_connections
max_connections_per_address max_transfers max_queue"""
PLACES = SettingOrigins(dict.fromkeys(BOUNDS.split(), "VARIABLE"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of a server whose settings all come from a variable."""
    home = Home(tmp_path_factory.mktemp("home"))
    settings = ServerSettings(body_limit_bytes=1000, blob_limit_bytes=2000, requests_per_minute=100, places=PLACES)
    application = Application(home, Store.open(home), settings, None, None, "0.1.0")  # type: ignore[arg-type]
    with running(create_app(application)) as server, httpx.Client(base_url=server.url) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "request_", "setting"),
    [
        ("/api/show", {"content": b" " * 1001}, "body_limit"),
        (f"/api/blobs/sha256:{'0' * 64}", {"content": b" " * 2001}, "blob_limit"),
        ("/api/show", {"headers": {"host": "evil.example"}}, "hosts"),
        ("/api/show", {"headers": {"origin": "https://evil.example"}}, "origins"),
    ],
)
def test_hints_over_http(client: httpx.Client, path: str, request_: dict[str, Any], setting: str) -> None:
    assert f"`serve.{setting}` in VARIABLE" in client.post(path, **request_).json()["hint"]


def test_a_rate_that_is_met(client: httpx.Client) -> None:
    answers = [client.get("/api/version") for _ in range(101)]
    assert "`serve.requests_per_minute` in VARIABLE, now 100" in answers[-1].json()["hint"]


def test_bounds_of_connections_and_work() -> None:
    for most, most_per_address, setting in ((0, 1, "max_connections"), (1, 0, "max_connections_per_address")):
        with pytest.raises(TooManyConnections) as connections:
            ConnectionLimit(most, most_per_address, PLACES).admit(None, "192.0.2.1")  # type: ignore[arg-type]
        assert f"`serve.{setting}` in VARIABLE, " in str(connections.value.hint)
    with pytest.raises(ServerBusy) as work:
        TaskThreads(0, PLACES).begin(lambda: None)
    assert "`serve.max_transfers` in VARIABLE, now 0" in str(work.value.hint)


def test_a_queue_that_is_full(hello_application: Application) -> None:
    async def ask() -> None:
        loading = hello_application.residency._loading
        async with Residency(loading, Limits(max_queue=0, places=PLACES)).lease("hello"):
            pass

    with pytest.raises(ServerBusy) as queue:
        asyncio.run(ask())
    assert "`serve.max_queue` in VARIABLE, now 0" in str(queue.value.hint)
