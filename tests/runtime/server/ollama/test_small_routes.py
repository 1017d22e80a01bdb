"""How clients see that a server is there, and which."""

from __future__ import annotations

import httpx
import pytest


def test_liveness(hello: httpx.Client) -> None:
    answer = hello.get("/")
    assert (answer.status_code, answer.text) == (200, "Ollama is running")
    assert answer.headers["content-type"].startswith("text/plain")
    assert (hello.head("/").status_code, hello.head("/").content) == (200, b"")


def test_version(hello: httpx.Client) -> None:
    assert hello.get("/api/version").json() == {"version": "0.33.0", "mlxbuild": "0.1.0"}
    assert hello.head("/api/version").status_code == 200


def test_there_is_no_cloud(hello: httpx.Client) -> None:
    assert hello.get("/api/status").json() == {"cloud": {"disabled": True, "source": "none"}}


def test_trailing_slashes_and_wrong_methods(hello: httpx.Client) -> None:
    assert hello.get("/api/version/", follow_redirects=True).status_code == 200
    assert hello.post("/api/version").status_code == 405
    assert hello.get("/api/none").json()["error"] == "404 page not found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/version", "GET, HEAD"),
        ("GET", "/api/blobs/x", "HEAD, POST"),
        ("PUT", "/v1/models/hello", "GET, HEAD"),
        ("PATCH", "/v1/responses/resp_1", "DELETE, GET, HEAD"),
    ],
)
def test_refused_methods_are_told_with_those_that_are_allowed(
    hello: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answer = hello.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    asked = hello.options(path)
    assert (asked.status_code, asked.headers["allow"]) == (204, allowed)
