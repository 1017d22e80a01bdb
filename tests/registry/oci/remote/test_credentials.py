"""Where credentials are found."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mlxbuild.registry.oci.remote.credentials import Credential, find
from mlxbuild.registry.oci.remote.endpoint import Endpoint
from mlxbuild.registry.oci.remote.errors import CredentialsFailure
from tests.registries import PASSWORD, USER
from tests.registry.oci.remote.authorising import BASIC, WRONG, write_config

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
