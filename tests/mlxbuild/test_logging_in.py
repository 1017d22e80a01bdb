"""`login` and `logout` against a real closed registry, with the credentials where docker keeps them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mlxbuild.conftest import CommandLine
from tests.registries import PASSWORD, USER, RegistryProcess, docker_registry

AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    with docker_registry(tmp_path_factory.mktemp("registry") / "closed", htpasswd=True, tls=True) as running:
        yield running


@pytest.fixture
def docker_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_registry: RegistryProcess, mlxbuild: CommandLine
) -> Path:
    """Docker's credential file, not there yet; the program knows the registry's authority."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))
    mlxbuild.home.root.mkdir(exist_ok=True)
    (mlxbuild.home.root / "config.yaml").write_text(f"ca: {closed_registry.ca}\n")
    return tmp_path / "docker" / "config.json"


def test_a_password_is_checked_kept_and_forgotten(
    mlxbuild: CommandLine, closed_registry: RegistryProcess, docker_file: Path
) -> None:
    docker_file.parent.mkdir()
    other = {"auths": {"ghcr.io": {"auth": "eDp5"}}, "detachKeys": "ctrl-x"}
    docker_file.write_text(json.dumps(other))
    login = ("login", closed_registry.host, "-u", USER, "--password-stdin")
    done = mlxbuild(*login, stdin=f"{PASSWORD}\n")
    assert done.code == 0, done.err
    assert f"logged in to {closed_registry.host} as {USER}" in done.err
    kept = json.loads(docker_file.read_text())
    assert kept["auths"].pop(closed_registry.host) == {"auth": AUTH}
    assert kept == other
    assert docker_file.stat().st_mode & 0o777 == 0o600
    assert "logged out" in mlxbuild("logout", f"https://{closed_registry.host}/").err
    assert json.loads(docker_file.read_text()) == other
    assert "not logged in" in mlxbuild("logout", closed_registry.host).err


def test_a_wrong_password_is_not_kept(
    mlxbuild: CommandLine, closed_registry: RegistryProcess, docker_file: Path
) -> None:
    done = mlxbuild("login", closed_registry.host, "-u", USER, "--password-stdin", stdin="wrong\n")
    assert done.code == 5
    assert "401" in done.err
    assert "wrong" not in done.err
    assert not docker_file.exists()


def test_a_helper_keeps_and_forgets(
    mlxbuild: CommandLine,
    closed_registry: RegistryProcess,
    docker_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "bin" / "docker-credential-tests"
    program.parent.mkdir()
    kept = tmp_path / "kept"
    program.write_text(
        f"#!/bin/sh\ncase $1 in store) cat > {kept};; get) cat {kept} 2>/dev/null || {{ echo not found; exit 1; }};; "
        f"erase) rm {kept};; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    docker_file.parent.mkdir()
    docker_file.write_text('{"credsStore": "tests"}')
    done = mlxbuild("login", closed_registry.host, "-u", USER, "--password-stdin", stdin=PASSWORD)
    assert done.code == 0, done.err
    assert json.loads(kept.read_text()) == {"ServerURL": closed_registry.host, "Username": USER, "Secret": PASSWORD}
    assert docker_file.read_text() == '{"credsStore": "tests"}'
    assert "logged out" in mlxbuild("logout", closed_registry.host).err
    assert not kept.exists()
    assert "not logged in" in mlxbuild("logout", closed_registry.host).err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("login", "ghcr.io"), "--password-stdin"),
        (("login", "ghcr.io", "--password-stdin"), "--username"),
        (("login", "ghcr.io", "-u", "me", "--password-stdin"), "empty"),
        (("login", "not a host", "-u", "me", "--password-stdin"), "not a host"),
        (("logout", "nohost"), "nohost"),
    ],
)
def test_what_is_missing_is_told(mlxbuild: CommandLine, docker_file: Path, words: tuple[str, ...], told: str) -> None:
    done = mlxbuild(*words, stdin="")
    assert done.code == 2
    assert told in done.err
    assert not docker_file.exists()
