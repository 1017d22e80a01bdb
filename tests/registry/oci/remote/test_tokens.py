"""Tokens by scope, from the service that a registry names."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.oci.remote.credentials import Credential
from mlxbuild.registry.oci.remote.endpoint import Endpoint
from mlxbuild.registry.oci.remote.errors import (
    ManifestUnknown,
    RealmNotAllowed,
    RegistryBusy,
    RegistryFailure,
    RegistryRefused,
)
from mlxbuild.registry.oci.remote.realms import Realms, host_of
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess, docker_registry
from tests.registry.oci.remote.authorising import BASIC, WRONG, Open, write_config
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy
from tests.token_service import TokenService


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


@pytest.fixture
def allowed(service: TokenService, proxy: FaultProxy) -> Realms:
    """The token service, which listens on another port, may get the password for the registry."""
    return Realms().extended(proxy.host, str(host_of(service.realm)))


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
        monkeypatch.setattr("mlxbuild.registry.oci.remote.auth.time.monotonic", lambda: now + 295)
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
        allowed: Realms,
    ) -> None:
        service.user = f"Basic {BASIC}"
        with pytest.raises(RegistryRefused):
            open_remote(f"{proxy.host}/acme/traded").upload_blob(blob, store)
        write_config(docker_config, auths={proxy.host: {"auth": BASIC}})
        open_remote(f"{proxy.host}/acme/traded", realms=allowed).upload_blob(blob, store)
        assert service.asked[-1].authorization == f"Basic {BASIC}"
        assert not any(str(seen.authorization).startswith("Basic") for seen in proxy.seen)

    def test_a_wrong_password_is_refused_by_the_service(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, docker_config: Path, allowed: Realms
    ) -> None:
        service.user = f"Basic {BASIC}"
        write_config(docker_config, auths={proxy.host: {"auth": WRONG}})
        with pytest.raises(RegistryRefused, match="token service") as caught:
            open_remote(f"{proxy.host}/acme/x", realms=allowed).get_manifest("v1")
        assert "mlxbuild login" in str(caught.value.hint)

    def test_an_identity_token_is_traded_by_post(
        self,
        service: TokenService,
        proxy: FaultProxy,
        open_remote: Open,
        store: Store,
        blob: Blob,
        docker_config: Path,
        allowed: Realms,
    ) -> None:
        service.identity_token = "refresh-me"
        write_config(docker_config, auths={proxy.host: {"auth": BASIC, "identitytoken": "refresh-me"}})
        open_remote(f"{proxy.host}/acme/identity", realms=allowed).upload_blob(blob, store)
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

    @pytest.mark.parametrize(
        "body",
        [
            *(b"", b"[]", b"{}", b'{"token": ""}', b'{"token": "a\\nb"}', b'{"token": 5}', b'{"token": "a b"}'),
            *('{"token": "☃"}'.encode(), b'{"token": "\\ud800"}', b'{"token": "%s"}' % (b"a" * 70_000), b"\xff" * 9),
            *(b"[" * 100_000, b'{"token": {"token": "a"}}', b'{"token": "a", "expires_in": %s}' % (b"9" * 5000)),
        ],
    )
    def test_what_is_no_token_is_told(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, body: bytes
    ) -> None:
        service.body = body
        with pytest.raises(RegistryFailure, match="no token"):
            open_remote(f"{proxy.host}/acme/x").get_manifest("v1")

    @pytest.mark.parametrize(
        "life", [b"1" + b"0" * 400, b"-1", b"-1e999", b"1e999", b"NaN", b"true", b'"300"', b"[300]", b"null"]
    )
    def test_a_token_with_a_strange_life_is_used(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, life: bytes
    ) -> None:
        remote = open_remote(f"{proxy.host}/acme/strange")
        token = service.token(("repository:acme/strange:pull",), push=False)
        service.body = b'{"token": "%s", "expires_in": %s}' % (token.encode(), life)
        for _ in range(2):
            with pytest.raises(ManifestUnknown):
                remote.get_manifest("v1")
        assert len(service.asked) == 1

    def test_an_encrypted_registry_cannot_send_passwords_in_the_open(
        self, closed_registry: RegistryProcess, service: TokenService
    ) -> None:
        from mlxbuild.registry.oci.remote.auth import Authorizer

        endpoint = Endpoint("ghcr.io", "ghcr.io", "acme/x")
        asked: list[str] = []

        def ask(*arguments: object) -> object:
            asked.append(str(arguments))
            raise AssertionError

        authorizer = Authorizer(endpoint, lambda: Credential("me", "secret"), ask, Realms())  # type: ignore[arg-type]
        with pytest.raises(RegistryFailure, match="not encrypted"):
            authorizer.renew(service.challenge("x"), ("x",), None)
        assert asked == []


class TestRealms:
    """A password goes to the registry's own host, and to others that somebody has allowed."""

    @pytest.mark.parametrize("entry", [{"auth": BASIC}, {"auth": BASIC, "identitytoken": "refresh-me"}])
    def test_another_host_gets_no_password(
        self,
        service: TokenService,
        proxy: FaultProxy,
        open_remote: Open,
        docker_config: Path,
        home: Home,
        entry: dict[str, str],
    ) -> None:
        service.user, service.identity_token = f"Basic {BASIC}", "refresh-me"
        write_config(docker_config, auths={proxy.host: entry})
        remote = open_remote(f"{proxy.host}/acme/x", realms=Settings.load(home).realms)
        with pytest.raises(RealmNotAllowed, match=f"to be sent to {host_of(service.realm)}") as caught:
            remote.head_manifest("v1")
        assert service.asked == []
        assert caught.value.status == 401
        _, line, _, key, _ = str(caught.value.hint).split("`", 4)
        file = home.root / "registries.yaml"
        assert str(file) in str(caught.value.hint)
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{key}\n  {line}\n")
        assert open_remote(f"{proxy.host}/acme/x", realms=Settings.load(home).realms).head_manifest("v1") is None
        assert len(service.asked) == 1

    def test_who_is_not_logged_in_may_ask_any_host(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open
    ) -> None:
        assert open_remote(f"{proxy.host}/acme/x").head_manifest("v1") is None
        assert [asked.authorization for asked in service.asked] == [None]

    def test_a_realm_on_the_own_host_needs_no_leave(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, docker_config: Path
    ) -> None:
        write_config(docker_config, auths={proxy.host: {"auth": BASIC}})
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{proxy.host}/token",service="tests"'}
        token = json.dumps({"token": service.token(("repository:acme/x:pull",), push=False)}).encode()
        proxy.faults += [Fault("GET", "/manifests/", status=401, headers=challenge)]
        proxy.faults += [Fault("GET", "/token", status=200, body=token)]
        with pytest.raises(ManifestUnknown):
            open_remote(f"{proxy.host}/acme/x").get_manifest("v1")
        assert [seen.authorization for seen in proxy.asked("GET", "/token")] == [f"Basic {BASIC}"]
        assert service.asked == []

    def test_a_token_service_that_redirects_takes_no_password_along(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, docker_config: Path
    ) -> None:
        write_config(docker_config, auths={proxy.host: {"auth": BASIC}})
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{proxy.host}/token",service="tests"'}
        proxy.faults += [Fault("GET", "/manifests/", status=401, headers=challenge)]
        proxy.faults += [Fault("GET", "/token", status=307, headers={"Location": f"{service.realm}?scope=x"})]
        with pytest.raises(RegistryRefused):
            open_remote(f"{proxy.host}/acme/x").get_manifest("v1")
        assert [asked.authorization for asked in service.asked] == [None]

    def test_a_password_by_itself_follows_no_redirect(
        self, service: TokenService, proxy: FaultProxy, open_remote: Open, docker_config: Path
    ) -> None:
        write_config(docker_config, auths={proxy.host: {"auth": BASIC}})
        proxy.faults += [
            Fault("GET", "/manifests/", status=401, headers={"WWW-Authenticate": 'Basic realm="tests"'}),
            Fault("GET", "/manifests/", status=307, headers={"Location": service.realm}),
        ]
        open_remote(f"{proxy.host}/acme/x").get_manifest("v1")  # whatever comes from there: no digest was asked for
        assert [seen.authorization for seen in proxy.seen] == [None, f"Basic {BASIC}"]
        assert [asked.authorization for asked in service.asked] == [None]
