"""What the tests against tools of others share: the tools, the registries, and the example, built and signed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from tests.mlxbuild.conftest import CommandLine
from tests.real_tools import find
from tests.registries import RegistryProcess, docker_registry, go_containerregistry, zot

_CHECKOUT = Path(__file__).parent.parent.parent
EXAMPLE = _CHECKOUT / "examples" / "hello"
_BIN = Path(os.environ.get("MLXBUILD_INTEROP_CACHE", _CHECKOUT / ".cache" / "interop")) / "bin"
CLOSABLE = {"docker-registry": docker_registry, "zot": zot}
"""Registries that can be encrypted and ask for a password, without the referrers API and with it."""
REGISTRIES = {**CLOSABLE, "go-containerregistry": go_containerregistry}
ASKED = ("What is a lock?", "--no-think", "--max-tokens", "8", "--temperature", "0")
"""For `run`: a question whose answer has text from the first token on."""

Tool = Callable[..., str]


@pytest.fixture(scope="session", autouse=True)
def _tools_on_the_path() -> Iterator[None]:
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{_BIN}{os.pathsep}{before}"
    yield
    os.environ["PATH"] = before


@pytest.fixture(scope="session", params=sorted(REGISTRIES))
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """An open registry on a loopback port."""
    with REGISTRIES[request.param](tmp_path_factory.mktemp("registry") / "open") as running:
        yield running


@dataclass(frozen=True)
class Example:
    """`examples/hello`, built in a home that holds the keys `acme` and `stranger`; only `int4` is signed."""

    mlxbuild: CommandLine
    digests: dict[str, str]
    """Variant to digest."""

    def key(self, name: str = "acme") -> str:
        """The path of a public key."""
        return str(self.mlxbuild.home.root / "keys" / f"{name}.pub")

    def blobs(self, variant: str = "int4") -> dict[str, bytes]:
        """Path to content of every file."""
        artifact = Artifact.open(self.mlxbuild.store, Digest.parse(self.digests[variant]))
        return {file.path: artifact.read(file.path) for file in artifact.files}


@pytest.fixture(scope="session")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """The example with its names."""
    place = tmp_path_factory.mktemp("hello")
    mlxbuild = CommandLine(place, Home(place / "home"))
    built = mlxbuild("create", "-f", str(EXAMPLE))
    assert built.code == 0, built.err
    names = dict(line.split() for line in built.out.splitlines())
    for name in ("acme", "stranger"):
        assert mlxbuild("keygen", name).code == 0
    assert mlxbuild("sign", "hello:int4", "--key", "acme").code == 0
    return Example(mlxbuild, {name.split(":")[1].split("@")[0]: digest for name, digest in names.items()})


@pytest.fixture(autouse=True)
def _no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credential, cache or configuration of the person who runs the tests."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def second(tmp_path: Path) -> CommandLine:
    """The program on another machine."""
    return CommandLine(tmp_path, Home(tmp_path / "second"))


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    """Runs a program of others to its end and returns what it printed; with `refused`, it has to fail."""

    def run(name: str, *words: str, refused: bool = False) -> str:
        done = subprocess.run(
            [find(name), *words],
            cwd=tmp_path,
            env={**os.environ, "COSIGN_PASSWORD": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode != 0) == refused, f"{name} {' '.join(words)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout if not refused else done.stdout + done.stderr

    return run
