"""Health, metrics and logs of a server that works."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mlxbuild.runtime.server.connections.observation import RequestOutcome
from mlxbuild.runtime.server.logger import log
from mlxbuild.runtime.server.observability.earlier_names import EARLIER
from mlxbuild.runtime.server.observability.logs import log_request, log_to
from tests.runtime.server.ollama.asking import LOCK


def test_health(hello: httpx.Client) -> None:
    alive = hello.get("/api/health")
    assert alive.status_code == 200
    assert alive.json()["status"] == "ok"
    assert hello.get("/api/health?ready").json() == {"status": "ready"}


def test_metrics(hello: httpx.Client) -> None:
    hello.post("/api/chat", json={"model": "hello", "messages": [LOCK], "stream": False})
    hello.post("/api/chat", json={"model": "nobody", "messages": [LOCK]})
    page = hello.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }

    def value(name: str, **labels: str) -> float:
        return samples[f"mlxbuild_{name}", frozenset(labels.items())]

    assert value("http_requests_total", method="POST", route="/api/chat", status="200") >= 1
    assert value("http_requests_total", method="POST", route="/api/chat", status="404") >= 1
    assert value("errors_total", code="unknown-reference") >= 1
    assert value("generation_tokens_total", model="hello:latest") > 5
    assert value("prompt_tokens_total", model="hello:latest") > 5
    assert value("time_to_first_token_seconds_count", model="hello:latest") >= 1
    assert value("model_loads_total", model="hello:latest") >= 1
    assert value("queue_requests") == 0
    assert value("connections") >= 1
    assert value("most_connections") > value("connections")
    assert value("connections_refused_total") == value("connections_let_go_total") == 0
    assert value("model_bytes", model="hello:latest") > 1_000_000
    assert value("model_memory_bytes", model="hello:latest") > 1_000_000
    assert value("model_failed_iterations", model="hello:latest") == 0
    for present, earlier in EARLIER.items():
        endings = {name.removeprefix(present): labels for name, labels in samples if re.match(rf"{present}(_|$)", name)}
        assert all((earlier + ending, labels) in samples for ending, labels in endings.items())
    assert value("answer_tokens_total", model="hello:latest") == value("generation_tokens_total", model="hello:latest")


def test_methods_that_nobody_knows_are_counted_as_one(hello: httpx.Client) -> None:
    for number in range(5):
        assert hello.request(f"M{number}", "/api/chat").status_code == 501
    page = hello.get("/metrics").text
    assert 'method="-",route="-",status="501"' in page
    assert 'method="M1"' not in page


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """A log that is written to; afterwards all is as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    log_to(tmp_path / "logs" / "serve.jsonl", level="info", file_bytes=2000, files=2)
    yield tmp_path / "logs" / "serve.jsonl"
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)


def observed(path: str = "/api/chat") -> RequestOutcome:
    return RequestOutcome("req_1", "POST", "/api/chat", path, 200, None, 0.1, "127.0.0.1", "alice", "hello:latest")


def test_the_log_is_json_and_rotated(log_file: Path) -> None:
    for _ in range(30):
        log_request(observed())
    assert len(list(log_file.parent.iterdir())) == 3
    told = json.loads(log_file.read_text().splitlines()[-1])
    assert told.pop("timestamp").endswith("Z")
    assert told == {
        "event": "request",
        "level": "info",
        "request_id": "req_1",
        "method": "POST",
        "path": "/api/chat",
        "route": "/api/chat",
        "status": 200,
        "seconds": 0.1,
        "client": "127.0.0.1",
        "caller": "alice",
        "model": "hello:latest",
    }


def test_secrets_are_never_logged(log_file: Path) -> None:
    log.warning("trouble", authorization="Bearer abc", api_key="x", detail="it was Bearer abcdefgh, or mlxb_0123456789")
    logging.getLogger("elsewhere").error("a key sk-0123456789abcdef in a message")
    text = log_file.read_text()
    for secret in ("abc", "mlxb_0123456789", "sk-0123456789abcdef"):
        assert secret not in text
    assert text.count("[hidden]") == 5


def test_a_traceback_is_in_the_log(log_file: Path) -> None:
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError as error:
        log.error("bug", exc_info=error)
    lines = map(json.loads, log_file.read_text().splitlines())  # a request to another test's server may end meanwhile
    [told] = [line for line in lines if line["event"] == "bug"]
    assert "ZeroDivisionError: oh" in told["exception"]
