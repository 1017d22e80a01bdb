"""Errors reach the command line as what they were: their kind decides the exit code, with a server or without."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from sanic import Request

from mlxbuild.registry.core.errors import Kind, MlxbuildError, TrustError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.protocol.failures import Unexpected
from mlxbuild.runtime.residency.errors import ServerStopping
from mlxbuild.runtime.runner.errors import RunnerDied
from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.bodies.json_body import read_json
from mlxbuild.runtime.server.responses.encoding import json_line
from mlxbuild.runtime.server.responses.native_format import NATIVE_FORMAT
from mlxbuild.runtime.server.responses.streams import AnswerStream
from mlxbuild.runtime.server.routing.api import Api
from mlxbuild.runtime.server.routing.route import Route
from mlxbuild.runtime.server.settings import ServerSettings
from mlxbuild.serving.client import Server
from tests.loopback_server import LoopbackServer
from tests.runtime.server.running import running

ERRORS = {
    kind.code: kind("what happened", where="a place", hint="what to do")
    for kind in (UnknownReference, Unexpected, ServerStopping, RunnerDied, TrustError)
}
EXIT_CODES = {"unknown-reference": 2, "unexpected": 3, "server-stopping": 5, "runner-died": 6, "trust": 10}


async def _early(request: Request) -> None:
    raise ERRORS[(await read_json(request))["code"]]


async def _midway(request: Request) -> None:
    async with AnswerStream(request, NATIVE_FORMAT) as answer:
        await answer.send(json_line({"piece": 1}))
        raise ERRORS[(await read_json(request))["code"]]


ROUTES = (
    Route("POST", "/early", _early, "Fail before the first piece", {}),
    Route("POST", "/midway", _midway, "Fail after it", {}),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose routes fail as they are told to."""
    home = Home(tmp_path_factory.mktemp("home"))
    application = Application(home, Store.open(home), ServerSettings(), None, None, "0.1.0")  # type: ignore[arg-type]
    with running(create_app(application, [Api("Failing", ("",), NATIVE_FORMAT, ROUTES)])) as listening:
        yield Server(listening.url, {})


def test_there_is_one_of_every_kind() -> None:
    assert {error.kind for error in ERRORS.values()} == set(Kind)


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("path", ["/early", "/midway"])
def test_an_error_is_what_it_was(server: Server, path: str, code: str) -> None:
    error = ERRORS[code]
    with pytest.raises(MlxbuildError) as caught:
        list(server.stream(path, code=code))
    told = caught.value
    assert (type(told), told.message, told.where, told.hint) == (type(error), error.message, error.where, error.hint)
    assert (told.kind, told.exit_code) == (error.kind, EXIT_CODES[code])


class _WithoutKinds(BaseHTTPRequestHandler):
    """Tells errors as Ollama does."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"error": "what happened"}).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        pass


@pytest.mark.parametrize(("status", "exit_code"), [(404, 2), (500, 5)])
def test_of_another_server_the_status_decides(status: int, exit_code: int) -> None:
    with LoopbackServer(("127.0.0.1", 0), _WithoutKinds) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(MlxbuildError, match="what happened") as caught:
            Server(f"http://127.0.0.1:{other.server_port}", {}).get(f"/{status}")
        other.shutdown()
    assert caught.value.exit_code == exit_code
