"""`login` at a registry whose token service has another address, and wants the password: asked for, and remembered."""

from __future__ import annotations

import base64
import fcntl
import os
import pty
import select
import subprocess
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.mlxbuild.conftest import PROGRAM, CommandLine
from tests.registries import PASSWORD, USER, docker_registry
from tests.token_service import TokenService

AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenService]:
    with TokenService(tmp_path_factory.mktemp("tokens") / "service") as running:
        running.user = f"Basic {AUTH}"
        yield running


@pytest.fixture(scope="module")
def registry(service: TokenService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry") / "tokens"
    with docker_registry(folder, authorisation=service.configuration()) as running:
        yield running.host


@pytest.fixture(autouse=True)
def nobody_is_logged_in(service: TokenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))
    service.asked.clear()


def test_gets_no_password_from_a_pipe(
    mlxbuild: CommandLine, service: TokenService, registry: str, tmp_path: Path
) -> None:
    done = mlxbuild("login", registry, "-u", USER, "--password-stdin", stdin=PASSWORD)
    assert (done.code, service.asked) == (5, [])
    realm = service.realm.split("/")[2]
    assert f'add the line `"{registry}": ["{realm}"]` below `realms:`' in done.err
    assert not (tmp_path / "docker").exists()


@pytest.mark.parametrize("answer", ["y", "n"])
def test_gets_it_when_somebody_says_so_on_a_terminal(
    mlxbuild: CommandLine, service: TokenService, registry: str, answer: str
) -> None:
    code, said = on_terminal(mlxbuild, ("login", registry, "-u", USER), {"Password: ": PASSWORD, "[y/N]: ": answer})
    if answer == "n":
        assert (code, service.asked) == (5, [])
        return
    assert code == 0, said
    assert [asked.authorization for asked in service.asked] == [f"Basic {AUTH}"]
    assert mlxbuild("list", "--remote", f"{registry}/acme/x").code == 2  # no such repository, without a question
    assert service.asked[-1].authorization == f"Basic {AUTH}"
    piped = mlxbuild("login", registry, "-u", USER, "--password-stdin", stdin=PASSWORD)
    assert piped.code == 0, piped.err


def on_terminal(mlxbuild: CommandLine, words: tuple[str, ...], answers: dict[str, str]) -> tuple[int, str]:
    """Run a command on a terminal of its own, and answer each question once it stands there.

    What is typed before is lost.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, *words],
        env=mlxbuild.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    said = ""
    for question, answer in answers.items():
        while question not in said:
            said += _read(ours)
        os.write(ours, f"{answer}\n".encode())
    with suppress(OSError):  # the other side is closed
        while True:
            said += _read(ours)
    os.close(ours)
    return process.wait(timeout=60), said


def _read(terminal: int) -> str:
    assert select.select([terminal], [], [], 60)[0], "nothing was said for a minute"
    return os.read(terminal, 1024).decode()
