"""Runs the commands of a page one after the other, as a reader would in a terminal of a new account.

Names of the pages stand for servers on this machine: `ghcr.io` and `registry.example.com` are Debian's docker-registry,
the Hugging Face Hub is `LocalHub`, and 127.0.0.1:11434 is a free port. Progress is turned off.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.docs.blocks import ROOT
from tests.hub_server import LocalHub
from tests.registries import docker_registry, free_port

_REGISTRIES = ("ghcr.io", "registry.example.com")
_SECONDS = 120
_KEEP = """trap 'code=$?; { export -p; printf "cd %q\\n" "$PWD"; } > "$STATE"; exit $code' EXIT
. "$STATE"
"""
"""What a command exports, and the folder that it goes to, hold for those after it."""


class Shell:
    """A new account; a server that it starts ends with it.

    For preparations, `$CHECKOUT` is the checkout, and `$BUILT` a home in which the example was built.
    """

    def __init__(self, folder: Path, built: Path) -> None:
        self._folder = folder
        self._built = built
        self._names: dict[str, str] = {}
        """What pages write to what it is here."""
        self._servers = ExitStack()

    def __enter__(self) -> Self:
        account = self._folder / "account"
        account.mkdir()
        (self._folder / "state").write_text(f'cd "{account}"\n')

        hub = self._servers.enter_context(LocalHub())
        model = ROOT / "examples" / "hello" / "model"
        hub.publish("Qwen/Qwen3-0.6B", {file.name: file.read_bytes() for file in model.iterdir()})
        self._names["127.0.0.1:11434"] = f"127.0.0.1:{free_port()}"
        self._environment = _environment(account, self._folder / "state") | {
            "HF_ENDPOINT": hub.endpoint,
            "BUILT": str(self._built),
            "MLXBUILD_PORT": self._names["127.0.0.1:11434"].partition(":")[2],
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._servers.close()

    def run(self, command: str) -> tuple[int, str]:
        """Run a command line; returns its exit code, and what it printed with the names of the pages."""
        command = self._here(command)
        if command.startswith("mlxbuild serve"):
            return self._serve(command)
        done = subprocess.run(
            ["bash", "-c", _KEEP + command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
        )
        return done.returncode, self._as_on_pages(done.stdout)

    def _serve(self, command: str) -> tuple[int, str]:
        """Start a server, and wait until it answers."""
        log = self._servers.enter_context((self._folder / "serve.txt").open("w+"))
        server = subprocess.Popen(
            ["bash", "-c", f'. "$STATE"\nexec {command}'],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self._servers.callback(server.wait, timeout=_SECONDS)
        self._servers.callback(server.terminate)
        until = time.monotonic() + _SECONDS
        while server.poll() is None and time.monotonic() < until:
            try:
                httpx.get(f"http://{self._names['127.0.0.1:11434']}/api/health").raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                break
        return server.poll() or 0, self._as_on_pages((self._folder / "serve.txt").read_text())

    def _here(self, text: str) -> str:
        for name in _REGISTRIES:
            if name in text and name not in self._names:
                registry = docker_registry(self._folder / name)
                self._names[name] = self._servers.enter_context(registry).host
        for name, here in self._names.items():
            text = text.replace(name, here)
        return text

    def _as_on_pages(self, text: str) -> str:
        for name, here in self._names.items():
            text = text.replace(here, name)
        return text.replace(f"{self._folder}/account", "~")


def _environment(account: Path, state: Path) -> dict[str, str]:
    """That of a new account."""
    kept = {name: os.environ[name] for name in ("LANG", "MLX_DISABLE_COMPILE", "TMPDIR") if name in os.environ}
    return kept | {
        "CHECKOUT": str(ROOT),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HOME": str(account),
        "MLXBUILD_PROGRESS": "none",
        "NO_PROXY": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "STATE": str(state),
    }


def matches(printed: str, promised: str) -> bool:
    """Whether all that was printed is what a page promises."""
    return (
        re.fullmatch("".join(map(_pattern, promised.splitlines())), "".join(map(_line, printed.splitlines())))
        is not None
    )


def _line(text: str) -> str:
    return f"{text.rstrip()}\n"


def _pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*?"
    words = re.split(r"(…| +)", line.rstrip())
    return (
        "".join(".*?" if word == "…" else " +" if word.startswith(" ") else re.escape(word) for word in words) + r"\n"
    )
