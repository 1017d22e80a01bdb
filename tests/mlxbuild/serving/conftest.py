"""`mlxbuild serve` as people start it, over the example's models."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import ollama
import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store

PROGRAM = Path(sys.executable).with_name("mlxbuild")
ROOT = Path(__file__).parents[3]


@dataclass
class ServeProcess:
    """A running `mlxbuild serve`."""

    process: subprocess.Popen[str]
    url: str
    home: Home

    @property
    def store(self) -> Store:
        """Its store."""
        return Store.open(self.home)


@contextmanager
def serving(
    home: Home,
    *words: str,
    environment: dict[str, str] | None = None,
    descriptors: int | None = None,
    within: Sequence[str] = (),
) -> Iterator[ServeProcess]:
    """Run the server on a free port until the end of the `with` statement, with no more than so many descriptors.

    `within` are the words of a program that becomes the server, as `tests.clients.offline` has.
    """
    bounded = [] if descriptors is None else ["sh", "-c", f'ulimit -n {descriptors} && exec "$0" "$@"']
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLXBUILD_", "OLLAMA_"))}
    process = subprocess.Popen(
        [*within, *bounded, PROGRAM, "serve", "--port", "0", *words],
        env=kept | {"MLXBUILD_HOME": str(home.root)} | (environment or {}),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        told = process.stderr.readline()
        match = re.search(r"http://\S+", told)
        assert match is not None, told + process.stderr.read()
        yield ServeProcess(process, match[0], home)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        process.stderr.close()


@pytest.fixture(scope="package")
def built_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the example's variants; `hello` is its int4 variant. Tests may add to it."""
    home = Home(tmp_path_factory.mktemp("serving") / "home")
    environment = os.environ | {"MLXBUILD_HOME": str(home.root), "MLXBUILD_PROGRESS": "none"}
    command = [PROGRAM, "create", "-f", "examples/hello", "--locked", "--no-gates"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        name, digest = line.split()
        for target in (name, *(["hello"] if "int4" in name else [])):
            subprocess.run([PROGRAM, "cp", digest, target], env=environment, check=True, capture_output=True)
    return home


@pytest.fixture(scope="package")
def served(built_home: Home) -> Iterator[ServeProcess]:
    """A server over that home."""
    with serving(built_home, environment={"MLXBUILD_INSECURE_REGISTRIES": ""}) as server:
        yield server


@pytest.fixture
def client(served: ServeProcess) -> Iterator[ollama.Client]:
    """The official client."""
    with ollama.Client(served.url) as client:
        yield client


@pytest.fixture
def raw(served: ServeProcess) -> Iterator[httpx.Client]:
    """A plain client, for what the official one does not do."""
    with httpx.Client(base_url=served.url, timeout=120) as client:
        yield client
