"""Registries whose lists never end: what is asked and kept of them is bounded."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.errors import RegistryFailure
from mlxbuild.registry.oci.remote.manifests import OCI_INDEX
from mlxbuild.registry.oci.remote.referrers import MOST_REFERRERS, list_referrers
from mlxbuild.registry.oci.remote.settings import Settings
from tests.loopback_server import LoopbackServer

SUBJECT = Digest.of_bytes(b"subject")


class _Endless(BaseHTTPRequestHandler):
    """Every list has a next page; a manifest is never there."""

    server: Endless

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        kind = "referrers" if "/referrers/" in self.path else "tags" if "/tags/" in self.path else "other"
        if kind == "other":
            self.send_error(404)
            return
        number = next(self.server.pages)
        body = json.dumps(self.server.page(kind, number)).encode()
        self.send_response(200)
        self.send_header("Content-Type", OCI_INDEX)
        self.send_header("Link", f'<{self.path.partition("?")[0]}?page={number}>; rel="next"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class Endless(LoopbackServer):
    """The registry, and what it was asked."""

    def __init__(self, per_page: int) -> None:
        super().__init__(("127.0.0.1", 0), _Endless)
        self.asked: list[str] = []
        self.pages = itertools.count()
        self._per_page = per_page

    def page(self, kind: str, number: int) -> dict[str, Any]:
        """A page of names, or of descriptors."""
        names = [f"t{number}.{item}" for item in range(self._per_page)]
        if kind == "tags":
            return {"name": "a/b", "tags": names}
        entries = [{"digest": str(Digest.of_bytes(name.encode())), "size": 1, "mediaType": "x"} for name in names]
        return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}


@pytest.fixture(params=[0, 1, 500])
def endless(request: pytest.FixtureRequest) -> Iterator[Endless]:
    """One with so many entries a page."""
    with Endless(request.param) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def remote(endless: Endless, home: Home) -> Remote:
    """The repository there."""
    return Remote.open(Reference.parse(f"127.0.0.1:{endless.server_port}/a/b"), Settings(attempts=1), home)


def test_referrers(remote: Remote, endless: Endless) -> None:
    left_out: list[str] = []
    assert list_referrers(remote, SUBJECT, lambda _digest, reason: left_out.append(reason)) == ()
    assert len([path for path in endless.asked if "/referrers/" in path]) <= 20
    assert len(endless.asked) <= MOST_REFERRERS + 20


def test_tags(remote: Remote, endless: Endless) -> None:
    with pytest.raises(RegistryFailure, match="is too long") as caught:
        for _ in remote.tags():
            pass
    assert caught.value.hint is not None
    assert len(endless.asked) <= 1001
