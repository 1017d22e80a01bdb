"""Who gets in: hosts, websites, keys, rates."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.security.api_keys import BrokenKeyFile, InvalidKeyName, KeyRing
from mlxbuild.runtime.server.security.hosts import HostNames
from mlxbuild.runtime.server.security.origins import Origins
from mlxbuild.runtime.server.security.rates import RateLimit
from mlxbuild.runtime.server.settings import ServerSettings
from tests.runtime.server.running import running


@pytest.mark.parametrize(
    ("header", "is_local"),
    [
        ("", True),
        ("localhost", True),
        ("localhost:11434", True),
        ("LOCALHOST.", True),
        ("127.0.0.1:80", True),
        ("[::1]:11434", True),
        ("::1", False),
        ("[::1]evil.com", False),
        ("[::1]:80evil.com", False),
        ("[fe80::1%25eth0]", False),
        ("localhost:99999", False),
        ("127.0.0.1:80@evil.example", False),
        ("localhost/evil.example", False),
        ("127.1", False),
        ("2130706433", False),
        ("192.168.1.7", True),
        ("10.0.0.1:5", True),
        ("0.0.0.0", True),
        ("box.local:11434", False),
        ("api.internal", False),
        (socket.gethostname(), True),
        (f"{socket.gethostname().removesuffix('.local')}.local:11434", True),
        ("host.docker.internal:11434", True),
        ("a.localhost", True),
        ("evil.example", False),
        ("evil.example:11434", False),
        ("localhost.evil.example", False),
        ("8.8.8.8", False),
        ("127.0.0.1.evil.example", False),
        ("notlocal", False),
        ("my.name", True),
    ],
)
def test_hosts(header: str, is_local: bool) -> None:
    assert HostNames(["my.name"]).are_told_by(header) is is_local


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://localhost", True),
        ("https://localhost:3000", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("http://0.0.0.0", True),
        ("app://obsidian.md", True),
        ("vscode-webview://abc", True),
        ("chrome-extension://abc", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://localhost:3000@evil.example", False),
        ("null", False),
        ("", False),
        ("https://a.trusted.example", True),
        ("https://trusted.example", False),
        ("http://localhost:3000/", False),
        ("http://localhost:x", False),
        ("http://[::1]evil.com", False),
        ("ftp://localhost", False),
        ("http://box.local", False),
        ("app://a b", False),
        ("http://[::2]:5", True),
    ],
)
def test_origins(origin: str, is_allowed: bool) -> None:
    assert Origins(["https://*.trusted.example", "http://[::2]:*"]).admit(origin) is is_allowed
    assert Origins(["*"]).admit(origin)


_PARTS = st.sampled_from(
    ["localhost", "127.0.0.1", "[::1]", "evil.com", "box.local", ".", ":", "80", "@", "/", "[", "]", "::1", "%00", "\t"]
)
_WRITTEN = st.one_of(st.lists(_PARTS, max_size=5).map("".join), st.text(max_size=20))


@given(_WRITTEN)
@example("[::1]evil.com")
@example("localhost:80@evil.com")
@example(".localhost")
def test_whatever_passes_as_a_host_is_one_for_other_parsers_too(written: str) -> None:
    if HostNames().are_told_by(written):
        host = urlsplit(f"http://{written}/").hostname or ""
        name = host.removesuffix(".")
        if not name.endswith(".localhost"):
            assert name in ("", "localhost", socket.gethostname().lower()) or ipaddress.ip_address(name).is_private


@given(st.sampled_from(["http://", "https://", "", "app://", "ws://"]), _WRITTEN, _WRITTEN)
@example("http://", "box.local:11434", "box.local:11434")
@example("http://", "evil.com", "evil.com")
def test_whatever_passes_as_an_origin_is_local_for_other_parsers_too(scheme: str, written: str, host: str) -> None:
    if Origins().admit(scheme + written, host) and scheme != "app://":
        name = (urlsplit(scheme + written).hostname or "").removesuffix(".")
        assert scheme in ("http://", "https://")
        assert name == "localhost" or ipaddress.ip_address(name).is_private
        assert urlsplit(scheme + written).path == urlsplit(scheme + written).query == ""


def test_a_bucket_fills_again() -> None:
    now = 0.0
    limit = RateLimit(2, clock=lambda: now)
    assert [limit.wait_seconds("a") for _ in range(3)] == [0.0, 0.0, 30.0]
    assert limit.wait_seconds("b") == 0.0
    now = 31.0
    assert limit.wait_seconds("a") == 0.0
    assert limit.wait_seconds("a") > 0


def test_keys_are_kept_as_hashes(hello_application: Application) -> None:
    ring = KeyRing(hello_application.home)
    key = ring.add("alice")
    file = hello_application.home.root / "api-keys.json"
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert ring.name_of(key) == KeyRing(hello_application.home).name_of(key) == "alice"
    assert ring.name_of(key + "x") is None
    assert ring.name_of("") is None
    with pytest.raises(InvalidKeyName, match="already"):
        ring.add("alice")
    with pytest.raises(InvalidKeyName, match="not a valid name"):
        ring.add("a b")
    ring.remove("alice")
    assert ring.name_of(key) is None
    with pytest.raises(InvalidKeyName, match="no key"):
        ring.remove("alice")
    for broken in ("{", "{}", "[1]", '[{"name": "a"}]', '[{"name": "a", "sha256": "\u00e4", "created_at": ""}]'):
        file.write_text(broken)
        for _ in range(2):
            with pytest.raises(BrokenKeyFile) as caught:
                ring.keys()
        assert (caught.value.exit_code, caught.value.where) == (6, str(file))
    file.unlink()
    assert ring.keys() == ()


@pytest.fixture(scope="module")
def guarded(hello_application: Application) -> Iterator[tuple[httpx.Client, str]]:
    """A server that asks for keys and counts requests, and a key."""
    key = KeyRing(hello_application.home).add("tests")
    settings = ServerSettings(asks_for_key=True, requests_per_minute=100, origins=("https://trusted.example",))
    app = create_app(replace(hello_application, settings=settings))
    with running(app, closes=False) as server, httpx.Client(base_url=server.url) as client:
        yield client, key


def test_a_key_lets_in(guarded: tuple[httpx.Client, str]) -> None:
    client, key = guarded
    assert client.get("/api/tags", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert client.get("/api/tags", headers={"x-api-key": key}).status_code == 200
    assert client.get("/api/health").status_code == 200
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dGVzdA=="}, {"x-api-key": "wrong"}]
)
def test_no_key_no_answer(guarded: tuple[httpx.Client, str], headers: dict[str, str]) -> None:
    client, _ = guarded
    for path in ("/api/tags", "/metrics", "/v1/models", "/api/health?ready", "/nowhere"):
        answer = client.get(path, headers=headers)
        assert answer.status_code == (200 if path == "/api/health?ready" else 401), path
    refused = client.get("/v1/models", headers=headers).json()
    assert "API key" in refused["error"]["message"]
    assert client.post("/api/chat", content=b"{}" * 1000, headers=headers).json()["code"] == "no-api-key"


def test_too_many_requests(guarded: tuple[httpx.Client, str], hello_application: Application) -> None:
    client, _ = guarded
    key = KeyRing(hello_application.home).add("busy")
    answers = [client.get("/api/version", headers={"x-api-key": key}) for _ in range(110)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:100] == [200] * 100
    assert statuses[-1] == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert answers[-1].json()["hint"] == "or raise `serve.requests_per_minute` in config.yaml, now 100"


def test_other_websites_are_refused(hello: httpx.Client) -> None:
    refused = hello.get("/api/tags", headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers
    allowed = hello.get("/api/tags", headers={"Origin": "http://localhost:3000"})
    assert allowed.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert allowed.headers["vary"] == "Origin"


def test_a_rebound_name_is_refused(hello: httpx.Client) -> None:
    for host in ("evil.example", "evil.example:11434", "evil.local", "evil.internal"):
        assert hello.get("/api/tags", headers={"Host": host}).status_code == 403
    assert hello.get("/api/tags", headers={"Host": "localhost"}).status_code == 200


@pytest.mark.parametrize("name", ["evil.local", "evil.internal", "localhost.evil.example"])
def test_a_rebound_name_destroys_nothing(hello_application: Application, name: str) -> None:
    """Whether its `Host` is checked or not, its `Origin` is."""
    app = create_app(replace(hello_application, settings=ServerSettings(host="0.0.0.0")))
    with running(app, closes=False) as server, httpx.Client(base_url=server.url) as client:
        rebound = {"Host": f"{name}:11434", "Origin": f"http://{name}:11434"}
        for method, path in (("DELETE", "delete"), ("POST", "copy"), ("POST", "create"), ("POST", "push")):
            body = {"model": "hello", "source": "hello", "destination": "gone"}
            assert client.request(method, f"/api/{path}", json=body, headers=rebound).status_code == 403
        names = [model["name"] for model in client.get("/api/tags").json()["models"]]
        assert "hello:int4" in names
        assert "gone:latest" not in names


def test_two_origins_are_both_looked_at(hello: httpx.Client) -> None:
    both = [("Origin", "http://localhost:3000"), ("Origin", "https://evil.example")]
    assert hello.get("/api/tags", headers=both).status_code == 403


def test_broken_keys_let_nobody_in(guarded: tuple[httpx.Client, str], hello_application: Application) -> None:
    client, key = guarded
    file = hello_application.home.root / "api-keys.json"
    kept = file.read_bytes()
    headers = {"x-api-key": key}
    try:
        file.write_text('[{"name": "tests"')
        native, openai = client.get("/api/tags", headers=headers), client.get("/v1/models", headers=headers)
        assert (native.status_code, native.json()["code"]) == (503, "keys-unreadable")
        assert (openai.status_code, openai.json()["error"]["code"]) == (503, "keys-unreadable")
        assert client.get("/api/version", headers=headers).status_code == 200
    finally:
        file.write_bytes(kept)
    assert client.get("/api/tags", headers=headers).status_code == 200


def test_a_preflight(guarded: tuple[httpx.Client, str]) -> None:
    client, _ = guarded
    asked = {
        "Origin": "https://trusted.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-stainless-lang",
    }
    answer = client.options("/api/chat", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://trusted.example"
    assert "x-stainless-lang" in answer.headers["access-control-allow-headers"]
    assert {"HTTP-Referer", "X-Title"} <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-max-age"] == "43200"
    refused = client.options("/api/chat", headers=asked | {"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


def test_a_page_of_the_server_itself_may_ask(hello_application: Application) -> None:
    everywhere = ServerSettings(host="0.0.0.0", hosts=("my.name",))
    app = create_app(replace(hello_application, settings=everywhere))

    def status(origin: str, host: str) -> int:
        return client.get("/api/tags", headers={"Origin": origin, "Host": host}).status_code

    with running(app, closes=False) as server, httpx.Client(base_url=server.url) as client:
        assert status("http://192.168.1.7:11434", "192.168.1.7:11434") == 200
        assert status("https://my.name", "my.name") == 200
        assert status("http://rebound.example", "rebound.example") == 403
        assert status("http://box.local", "box.local") == 403
        assert status("http://192.168.1.7", "192.168.1.7:80") == 200
        assert status("http://192.168.1.8", "192.168.1.7") == 403
        assert client.get("/api/tags", headers={"Host": "any.example"}).status_code == 200
