"""A server without models whose bounds are so small that nobody waits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.settings import ServerSettings
from tests.runtime.server.running import RunningServer, running

Start = Callable[..., RunningServer]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts servers with settings of their own, which run until the end of the module."""
    with ExitStack() as stack:

        def started(**settings: object) -> RunningServer:
            home = Home(tmp_path_factory.mktemp("home"))
            chosen = ServerSettings(**settings)  # type: ignore[arg-type]
            application = Application(home, Store.open(home), chosen, None, None, "0.1.0")  # type: ignore[arg-type]
            return stack.enter_context(running(create_app(application)))

        yield started


@pytest.fixture(scope="module")
def server(start: Start) -> RunningServer:
    """One with the usual bounds, but for small bodies."""
    return start(body_limit_bytes=10_000, blob_limit_bytes=20_000)
