"""Passwords over TLS, and what a registry asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.oci.remote.auth import Challenge, parse_challenge
from mlxbuild.registry.oci.remote.errors import RegistryFailure, RegistryRefused, RegistryUnreachable
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess
from tests.registry.oci.remote.authorising import BASIC, WRONG, Open, write_config
from tests.registry.oci.remote.fault_proxy import FaultProxy


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
