"""More slow clients than a server has descriptors: it answers whoever asks."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from mlxbuild.registry.core.home import Home
from tests.mlxbuild.serving.conftest import serving

DESCRIPTORS = 1024
SLOW = 1100


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    """For this process, which is the clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_many_descriptors")
def test_slow_clients_shut_nobody_out(home: Home) -> None:
    with serving(home, descriptors=DESCRIPTORS) as server, ExitStack() as stack:
        parts = urlsplit(server.url)
        slow: list[socket.socket] = []
        for _ in range(SLOW):
            slow.append(stack.enter_context(socket.create_connection((str(parts.hostname), parts.port), timeout=60)))
            slow[-1].sendall(b"GET / HTTP/1.1\r\nx: ")
        for _ in range(2):
            for each in slow:
                with contextlib.suppress(ConnectionError):  # those that made way for others
                    each.sendall(b"y")
            assert httpx.get(f"{server.url}/api/version", timeout=60).status_code == 200
        assert psutil.Process(server.process.pid).num_fds() < DESCRIPTORS
        assert "out of system resource" not in (server.home.logs / "serve.jsonl").read_text()
