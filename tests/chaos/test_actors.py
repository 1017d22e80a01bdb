"""Who asks after the chaos waits once for a model that rests, as long as the server says."""

from __future__ import annotations

import json
import random
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.actors import Stage, ask
from tests.loopback_server import LoopbackServer

REST = b'{"error":"`m` was loaded 3 times and has answered nothing: it ended","code":"model-keeps-dying"}'

_TEXT = [{"text": "Paris"}]
ANSWER = json.dumps(
    {
        "message": {"content": "Paris"},
        "choices": [{"message": {"content": "Paris"}}],
        "content": _TEXT,
        "output": [{"content": _TEXT}],
    }
).encode()
"""Of all APIs in one."""


@pytest.mark.parametrize(
    ("rests", "waits", "outcome"),
    [(1, True, "answered"), (2, True, "503 model-keeps-dying"), (1, False, "503 model-keeps-dying")],
)
def test_a_model_that_rests_is_waited_for_once(rests: int, waits: bool, outcome: str) -> None:
    left = [REST] * rests

    class Resting(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = left.pop() if left else ANSWER
            self.send_response(503 if body is REST else 200)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with LoopbackServer(("127.0.0.1", 0), Resting) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        place: Any = SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}")
        assert ask(Stage(place, place, Path(), {}), random.Random(0), waits=waits) == outcome
        server.shutdown()
