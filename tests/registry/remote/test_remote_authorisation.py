"""Who may talk to a registry: passwords over TLS, tokens by scope, and where credentials are found."""

from __future__ import annotations

import base64
import json
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.digest import Blob
from registry.remote.auth import Challenge, parse_challenge
from registry.remote.client import Remote
from registry.remote.credentials import Credential, find
from registry.remote.endpoint import Endpoint
from registry.remote.errors import (
    CredentialsFailure,
    RegistryBusy,
    RegistryFailure,
    RegistryRefused,
    RegistryUnreachable,
)
from registry.store.layout import Store
from tests.registries import PASSWORD, USER, RegistryProcess, docker_registry
from tests.registry.remote.fault_proxy import Fault, FaultProxy
from tests.token_service import TokenService

Open = Callable[..., Remote]
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
WRONG = base64.b64encode(f"{USER}:wrong".encode()).decode()


def write_config(folder: Path, **content: object) -> None:
    (folder / "config.json").write_text(json.dumps(content))


@pytest.fixture
def blob(store: Store) -> Blob:
    return store.put(bytes(range(256)) * 8_000)


class TestPasswords:
    def test_the_right_one_opens_a_closed_registry(
        self, closed_registry: RegistryProcess, open_remote: Open, docker_config: Path, store: Store, blob: Blob
    ) -> None:
        write_config(docker_config, auths={closed_registry.host: {"auth": BASIC}})
        remote = open_remote(f"{closed_registry.host}/acme/closed", ca=closed_registry.ca)
        remote.ping()
        remote.upload_blob(blob, store)
        store.remove(blob.digest)
        remote.download_blob(blob, store)
        store.verify(blob.digest)

    @pytest.mark.parametrize("auths", [{}, {"auth": WRONG}])
    def test_none_or_a_wrong_one_is_refused(
        self, closed_registry: RegistryProcess, open_remote: Open, docker_config: Path, auths: dict[str, str]
    ) -> None:
        write_config(docker_config, auths={closed_registry.host: auths})
        with pytest.raises(RegistryRefused) as caught:
            open_remote(f"{closed_registry.host}/acme/closed", ca=closed_registry.ca).get_manifest("v1")
        assert caught.value.status == 401
        assert caught.value.hint == f"log in with `mlxbuild login {closed_registry.host}`"

    def test_an_unknown_authority_is_refused(
        self, closed_registry: RegistryProcess, open_remote: Open, tmp_path: Path
    ) -> None:
        from tests.registries import make_certificates

        other, _, _ = make_certificates(tmp_path / "other")
        with pytest.raises(RegistryUnreachable, match="certificate") as caught:
            open_remote(f"{closed_registry.host}/acme/closed", ca=other).ping()
        assert "`ca`" in str(caught.value.hint)

    def test_plain_http_to_an_encrypted_registry_is_explained(
        self, closed_registry: RegistryProcess, open_remote: Open
    ) -> None:
        with pytest.raises(RegistryFailure) as caught:
            open_remote(f"{closed_registry.host}/acme/closed").ping()
        assert "https" in str(caught.value.hint)

    def test_what_netrc_says_is_not_sent(
        self,
        plain_registry: RegistryProcess,
        open_remote: Open,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password hidden\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        with FaultProxy(plain_registry.host) as proxy:
            open_remote(f"{proxy.host}/acme/x").ping()
            assert [seen.authorization for seen in proxy.seen] == [None]


@pytest.fixture(scope="module")
def running_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TokenService, RegistryProcess]]:
    folder = tmp_path_factory.mktemp("tokens")
    with TokenService(folder / "service") as service:
        with docker_registry(folder / "registry", authorisation=service.configuration()) as running:
            yield service, running


@pytest.fixture
def service(running_service: tuple[TokenService, RegistryProcess]) -> TokenService:
    found = running_service[0]
    found.user = found.identity_token = found.status = found.body = None
    found.asked.clear()
    return found


@pytest.fixture
def proxy(running_service: tuple[TokenService, RegistryProcess]) -> Iterator[FaultProxy]:
    with FaultProxy(running_service[1].host) as running:
        yield running


class TestTokens:
    def test_one_token_serves_all_requests_of_a_scope(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, store: Store, blob: Blob
    ) -> None:
        remote = open_remote(f"{proxy.host}/acme/one-token", chunk_bytes=500_000)
        remote.upload_blob(blob, store)
        store.remove(blob.digest)
        remote.download_blob(blob, store)
        asked = [asked.scopes for asked in service.asked]
        assert asked == [("repository:acme/one-token:pull,push",), ("repository:acme/one-token:pull",)]
        assert len([seen for seen in proxy.seen if seen.authorization is None]) == 2
        store.verify(blob.digest)

    @pytest.mark.parametrize(("method", "skip"), [("HEAD", 2), ("POST", 0), ("PATCH", 1), ("PUT", 0)])
    def test_a_token_that_ends_in_the_middle_is_renewed(
        self,
        service: TokenService,
        proxy: FaultProxy,
        open_remote: Open,
        store: Store,
        blob: Blob,
        method: str,
        skip: int,
    ) -> None:
        remote = open_remote(f"{proxy.host}/acme/renewed-{method.lower()}", chunk_bytes=900_000)
        challenge = {"WWW-Authenticate": service.challenge(f"repository:{remote.repository}:pull,push")}
        ended = Fault(method, "/blobs/", skip=skip, status=401, headers=challenge)
        proxy.faults.append(ended)
        moved: list[int] = []
        remote.upload_blob(blob, store, moved.append)
        assert sum(moved) == blob.size_bytes
        assert remote.has_blob(blob.digest)
        assert ended.times == 0
        assert len(service.asked) == 2

    def test_a_token_is_renewed_before_it_ends(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that no long body is sent in vain."""
        remote = open_remote(f"{proxy.host}/acme/in-time")
        empty = store.put(b"")
        remote.upload_blob(empty, store)
        now = time.monotonic()
        monkeypatch.setattr("registry.remote.auth.time.monotonic", lambda: now + 295)
        assert remote.has_blob(empty.digest)
        assert len(service.asked) == 2
        assert remote.has_blob(empty.digest)
        assert len(service.asked) == 2

    def test_a_token_that_ends_within_a_fetch_is_renewed(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, store: Store, blob: Blob, pauses: list[float]
    ) -> None:
        remote = open_remote(f"{proxy.host}/acme/renewed")
        remote.upload_blob(blob, store)
        store.remove(blob.digest)
        challenge = service.challenge("repository:acme/renewed:pull")
        proxy.faults += [
            Fault("GET", "/blobs/", skip=1, truncate=1_000_000),
            Fault("GET", "/blobs/", skip=1, status=401, headers={"WWW-Authenticate": challenge}),
        ]
        assert remote.download_blob(blob, store) == blob.size_bytes
        store.verify(blob.digest)

    def test_a_registry_that_takes_no_token_is_asked_twice_only(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open
    ) -> None:
        challenge = {"WWW-Authenticate": service.challenge("repository:acme/x:pull")}
        proxy.faults.append(Fault("GET", status=401, headers=challenge, times=99))
        with pytest.raises(RegistryRefused):
            open_remote(f"{proxy.host}/acme/x").get_manifest("v1")
        assert len(proxy.seen) == 2
        assert len(service.asked) == 1

    def test_a_password_is_traded_for_a_token_and_goes_nowhere_else(
        self,
        service: TokenService,
        proxy: FaultProxy,
        open_remote: Open,
        store: Store,
        blob: Blob,
        docker_config: Path,
    ) -> None:
        service.user = f"Basic {BASIC}"
        with pytest.raises(RegistryRefused):
            open_remote(f"{proxy.host}/acme/traded").upload_blob(blob, store)
        write_config(docker_config, auths={proxy.host: {"auth": BASIC}})
        open_remote(f"{proxy.host}/acme/traded").upload_blob(blob, store)
        assert service.asked[-1].authorization == f"Basic {BASIC}"
        assert not any(str(seen.authorization).startswith("Basic") for seen in proxy.seen)

    def test_a_wrong_password_is_refused_by_the_service(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, docker_config: Path
    ) -> None:
        service.user = f"Basic {BASIC}"
        write_config(docker_config, auths={proxy.host: {"auth": WRONG}})
        with pytest.raises(RegistryRefused, match="token service") as caught:
            open_remote(f"{proxy.host}/acme/x").get_manifest("v1")
        assert "mlxbuild login" in str(caught.value.hint)

    def test_an_identity_token_is_traded_by_post(
        self,
        service: TokenService,
        proxy: FaultProxy,
        open_remote: Open,
        store: Store,
        blob: Blob,
        docker_config: Path,
    ) -> None:
        service.identity_token = "refresh-me"
        write_config(docker_config, auths={proxy.host: {"auth": BASIC, "identitytoken": "refresh-me"}})
        open_remote(f"{proxy.host}/acme/identity").upload_blob(blob, store)
        assert {asked.method for asked in service.asked} == {"POST"}
        assert service.asked[0].form["service"] == "tests"

    def test_a_registry_token_is_sent_as_it_is(
        self,
        service: TokenService,
        proxy: FaultProxy,
        open_remote: Open,
        store: Store,
        blob: Blob,
        docker_config: Path,
    ) -> None:
        token = service.token(("repository:acme/given:pull,push",), push=True)
        write_config(docker_config, auths={proxy.host: {"registrytoken": token}})
        open_remote(f"{proxy.host}/acme/given").upload_blob(blob, store)
        assert service.asked == []

    def test_mounting_asks_for_both_repositories(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, store: Store, blob: Blob
    ) -> None:
        open_remote(f"{proxy.host}/acme/from").upload_blob(blob, store)
        assert open_remote(f"{proxy.host}/acme/to").mount_blob(blob.digest, "acme/from")
        assert set(service.asked[-1].scopes) >= {"repository:acme/to:pull,push", "repository:acme/from:pull"}

    def test_a_busy_service_is_asked_again(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, pauses: list[float]
    ) -> None:
        service.status = 503
        with pytest.raises(RegistryBusy):
            open_remote(f"{proxy.host}/acme/x").get_manifest("v1")
        assert len(service.asked) == 3

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": ""}', b'{"token": "a\\nb"}', b'{"token": 5}'])
    def test_what_is_no_token_is_told(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, body: bytes
    ) -> None:
        service.body = body
        with pytest.raises(RegistryFailure, match="no token"):
            open_remote(f"{proxy.host}/acme/x").get_manifest("v1")

    def test_an_encrypted_registry_cannot_send_passwords_in_the_open(
        self, closed_registry: RegistryProcess, service: TokenService
    ) -> None:
        from registry.remote.auth import Authorizer

        endpoint = Endpoint("ghcr.io", "ghcr.io", "acme/x")
        asked: list[str] = []

        def ask(*arguments: object) -> object:
            asked.append(str(arguments))
            raise AssertionError

        authorizer = Authorizer(endpoint, lambda: Credential("me", "secret"), ask)  # type: ignore[arg-type]
        with pytest.raises(RegistryFailure, match="not encrypted"):
            authorizer.renew(service.challenge("x"), ("x",), None)
        assert asked == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="a, b"', Challenge(False, "a, b")),
        ("basic", Challenge(False)),
        (
            'Bearer realm="https://a/t",service=s,scope="x:y:pull z:w:push"',
            Challenge(True, "https://a/t", "s", ("x:y:pull", "z:w:push")),
        ),
        ('Basic realm="a", Bearer realm="https://a/t"', Challenge(True, "https://a/t")),
        ('Negotiate, Bearer realm="https://a/t", Basic realm="b"', Challenge(True, "https://a/t")),
        ('Bearer service="s"', None),
        ("Negotiate", None),
        ("", None),
    ],
)
def test_challenges_are_read(header: str, expected: Challenge | None) -> None:
    assert parse_challenge(header) == expected


@given(st.text(alphabet='Basicrelm="\\, :/\n', max_size=60))
def test_no_challenge_is_too_strange(text: str) -> None:
    parsed = parse_challenge(f"Bearer {text}")
    assert parsed is None or parsed.bearer or not parsed.scopes


ENDPOINT = Endpoint("reg.example.com:5000", "reg.example.com:5000", "acme/hello")


class TestCredentials:
    def test_none_are_found_where_none_are(self) -> None:
        assert find(ENDPOINT) is None

    @pytest.mark.parametrize(
        "key", ["reg.example.com:5000", "https://reg.example.com:5000", "https://reg.example.com:5000/v2/"]
    )
    def test_every_way_to_write_a_host_is_known(self, docker_config: Path, key: str) -> None:
        write_config(docker_config, auths={key: {"auth": BASIC}})
        assert find(ENDPOINT) == Credential(USER, PASSWORD)

    def test_docker_io_is_known_by_its_old_address(self, docker_config: Path) -> None:
        write_config(docker_config, auths={"https://index.docker.io/v1/": {"username": "a", "password": "b:c"}})
        assert find(Endpoint("docker.io", "registry-1.docker.io", "library/x")) == Credential("a", "b:c")

    def test_podman_keeps_some_by_namespace(
        self, docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
        auths = {"reg.example.com:5000/acme": {"auth": BASIC}, "reg.example.com:5000": {"auth": WRONG}}
        (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))
        assert find(ENDPOINT) == Credential(USER, PASSWORD)

    @pytest.mark.parametrize("kind", ["credHelpers", "credsStore"])
    @pytest.mark.parametrize(
        ("output", "expected"),
        [
            ('{"Username": "me", "Secret": "pass"}', Credential("me", "pass")),
            ('{"Username": "<token>", "Secret": "pass"}', Credential(identity_token="pass")),
        ],
    )
    def test_helpers_are_asked(
        self,
        docker_config: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
        output: str,
        expected: Credential,
    ) -> None:
        write_helper(tmp_path, monkeypatch, f"read host; test \"$host\" = {ENDPOINT.host} || exit 9; echo '{output}'")
        write_config(docker_config, **{kind: "tests" if kind == "credsStore" else {ENDPOINT.host: "tests"}})
        assert find(ENDPOINT) == expected

    def test_a_helper_that_knows_nothing_is_passed_over(
        self, docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
        write_config(docker_config, credsStore="tests", auths={ENDPOINT.host: {"auth": BASIC}})
        assert find(ENDPOINT) == Credential(USER, PASSWORD)

    @pytest.mark.parametrize("script", ["exit 3", "echo no json", "echo '[]'"])
    def test_a_helper_that_fails_is_named(
        self, docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
    ) -> None:
        write_helper(tmp_path, monkeypatch, script)
        write_config(docker_config, credHelpers={ENDPOINT.host: "tests"})
        with pytest.raises(CredentialsFailure, match="docker-credential-tests"):
            find(ENDPOINT)

    def test_a_missing_helper_matters_only_where_it_was_asked_for(self, docker_config: Path) -> None:
        write_config(docker_config, credsStore="nowhere")
        assert find(ENDPOINT) is None
        write_config(docker_config, credHelpers={ENDPOINT.host: "nowhere"})
        with pytest.raises(CredentialsFailure, match="not installed"):
            find(ENDPOINT)

    @pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"reg.example.com:5000": {"auth": "%%%"}}}'])
    def test_a_broken_file_is_named(self, docker_config: Path, text: str) -> None:
        (docker_config / "config.json").write_text(text)
        with pytest.raises(CredentialsFailure) as caught:
            find(ENDPOINT)
        assert caught.value.where == str(docker_config / "config.json")

    def test_secrets_are_not_shown(self) -> None:
        assert "pass" not in repr(Credential("me", "pass", "pass", "pass"))


def write_helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A credential helper `tests` on the search path."""
    program = folder / "bin" / "docker-credential-tests"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
