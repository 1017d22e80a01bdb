"""What the tests of exchanges share: a real registry, two homes, and no credentials of the person who runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess, docker_registry

SETTINGS = Settings(connect_seconds=5.0, read_seconds=10.0, attempts=3)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """distribution's registry, which has no referrers API."""
    with docker_registry(tmp_path_factory.mktemp("registry") / "one") as running:
        yield running


@pytest.fixture(scope="module")
def other_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """Another one."""
    with docker_registry(tmp_path_factory.mktemp("registry") / "two") as running:
        yield running


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for docker's credentials; podman's are out of sight, too."""
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))
    return folder


@pytest.fixture
def second_store(tmp_path: Path) -> Store:
    """The store of another machine."""
    return Store.open(Home(tmp_path / "second"))
