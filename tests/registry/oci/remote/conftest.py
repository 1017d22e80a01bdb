"""What the tests of registries share: a real one, no credentials of the person who runs them, short patience."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess, docker_registry
from tests.registry.oci.remote.fault_proxy import FaultProxy

Open = Callable[..., Remote]
CONTENT = bytes(range(256)) * 8_000
HALF = 1_000_000
NAME = "acme/faults"


@pytest.fixture(scope="module")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """distribution's registry without password and encryption, for all tests of a file."""
    with docker_registry(tmp_path_factory.mktemp("registry") / "plain") as running:
        yield running


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """The same with a password and encryption."""
    folder = tmp_path_factory.mktemp("registry") / "closed"
    with docker_registry(folder, htpasswd=True, tls=True) as running:
        yield running


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for docker's credentials; podman's are out of sight, too."""
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for variable in ("MLXBUILD_DEFAULT_REGISTRY", "MLXBUILD_INSECURE_REGISTRIES", "MLXBUILD_REGISTRY_CA"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def open_remote(home: Home) -> Iterator[Open]:
    """Opens a repository by its name, with a short patience and other settings where given."""

    def open_(name: str, **changes: object) -> Remote:
        settings = Settings(**{"connect_seconds": 5.0, "read_seconds": 5.0, "attempts": 3, **changes})  # type: ignore[arg-type]
        opened.append(Remote.open(Reference.parse(name), settings, home))
        return opened[-1]

    opened: list[Remote] = []
    yield open_
    for remote in opened:
        remote.close()


@pytest.fixture
def proxy(plain_registry: RegistryProcess) -> Iterator[FaultProxy]:
    """The way to the registry on which things go wrong."""
    with FaultProxy(plain_registry.host) as running:
        yield running


@pytest.fixture
def direct(plain_registry: RegistryProcess, open_remote: Open) -> Remote:
    """The repository without the proxy."""
    return open_remote(f"{plain_registry.host}/{NAME}")


@pytest.fixture
def remote(proxy: FaultProxy, open_remote: Open) -> Remote:
    """The repository through the proxy, in chunks that make three of the content."""
    return open_remote(f"{proxy.host}/{NAME}", chunk_bytes=800_000, read_seconds=1.0)


@pytest.fixture
def there(direct: Remote, store: Store) -> Blob:
    """A blob that only the registry holds."""
    blob = store.put(CONTENT)
    direct.upload_blob(blob, store)
    store.remove(blob.digest)
    return blob


@pytest.fixture
def here(store: Store, tmp_path: Path) -> Blob:
    """A blob that only the store holds."""
    return store.put(str(tmp_path).encode() + CONTENT)


@pytest.fixture
def blob(store: Store) -> Blob:
    """Of the store; a registry gets it in several parts."""
    return store.put(CONTENT)
