"""Where a name leads: settings, mirrors, the default registry and the rules of docker.io."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.endpoint import Endpoint, is_loopback, locate
from mlxbuild.registry.oci.remote.errors import InvalidSettings, NoRegistry
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess


@pytest.fixture
def configure(home: Home) -> Callable[[str], Settings]:
    def write(text: str) -> Settings:
        home.root.mkdir(exist_ok=True)
        (home.root / "config.yaml").write_text(text)
        return Settings.load(home)

    return write


def test_without_a_file_there_are_defaults(home: Home) -> None:
    assert Settings.load(home) == Settings()


def test_everything_can_be_set(configure: Callable[[str], Settings], home: Home) -> None:
    (home.root).mkdir()
    (home.root / "ca.pem").write_text("")
    settings = configure(
        "default_registry: ghcr.io/acme/\nmirrors: {docker.io: [mirror.acme.com/docker, 127.0.0.1:5000]}\n"
        "insecure: [Reg.Acme.com]\nca: ca.pem\nconnect_seconds: 1.5\nread_seconds: 2\nattempts: 3\nchunk_bytes: 9\n"
    )
    assert settings == Settings(
        default_registry="ghcr.io/acme",
        mirrors={"docker.io": ("mirror.acme.com/docker", "127.0.0.1:5000")},
        insecure=frozenset({"reg.acme.com"}),
        ca=home.root / "ca.pem",
        connect_seconds=1.5,
        read_seconds=2,
        attempts=3,
        chunk_bytes=9,
    )


def test_the_environment_comes_first(
    configure: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLXBUILD_DEFAULT_REGISTRY", "quay.io")
    monkeypatch.setenv("MLXBUILD_INSECURE_REGISTRIES", "a.b, c.d:5000,")
    monkeypatch.setenv("MLXBUILD_REGISTRY_CA", str(tmp_path / "ca.pem"))
    (tmp_path / "ca.pem").write_text("")
    settings = configure("default_registry: ghcr.io\ninsecure: [e.f]\n")
    assert settings.default_registry == "quay.io"
    assert settings.insecure == {"a.b", "c.d:5000", "e.f"}
    assert settings.ca == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("default_registy: ghcr.io", "default_registry"),
        ("- a", "map"),
        ("a: [", "YAML"),
        (f"attempts: {'9' * 400}", "attempts"),
        ("default_registry: [x]", "default_registry"),
        ("default_registry: hello", "hello"),
        ("default_registry: 'https://ghcr.io'", "https"),
        ("insecure: ghcr.io", "insecure"),
        ("mirrors: [a]", "mirrors"),
        ("mirrors: {docker.io: a.b}", "mirrors of docker.io"),
        ("mirrors: {docker.io: [nohost]}", "nohost"),
        ("ca: missing.pem", "authorities"),
        ("attempts: 0", "it is a whole number from 1 to 100"),
        ("attempts: 1.5", "whole"),
        ("attempts: 5m", "attempts"),
        ("read_seconds: 0", "0.01 to 86,400"),
        ("least_bytes_per_second: 0", "from 1 to"),
        ("chunk_bytes: -1", "chunk_bytes"),
        ("read_seconds: soon", "read_seconds"),
        ("read_seconds: true", "read_seconds"),
    ],
)
def test_mistakes_are_told_with_the_key_and_the_file(
    configure: Callable[[str], Settings], text: str, told: str
) -> None:
    with pytest.raises(InvalidSettings) as caught:
        configure(text)
    assert told in caught.value.diagnostics()
    assert caught.value.where is not None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ghcr.io/acme/hello", Endpoint("ghcr.io", "ghcr.io", "acme/hello")),
        ("docker.io/hello", Endpoint("docker.io", "registry-1.docker.io", "library/hello")),
        ("index.docker.io/acme/hello", Endpoint("docker.io", "registry-1.docker.io", "acme/hello")),
        ("localhost:5000/hello", Endpoint("localhost:5000", "localhost:5000", "hello", "http")),
        ("127.0.0.1:5000/hello", Endpoint("127.0.0.1:5000", "127.0.0.1:5000", "hello", "http")),
        ("[::1]:5000/hello", Endpoint("[::1]:5000", "[::1]:5000", "hello", "http")),
        ("open.acme.com:80/hello", Endpoint("open.acme.com:80", "open.acme.com:80", "hello", "http")),
        ("10.0.0.1:5000/hello", Endpoint("10.0.0.1:5000", "10.0.0.1:5000", "hello")),
        ("hello", Endpoint("quay.io", "quay.io", "acme/hello")),
        ("team/hello:v1", Endpoint("quay.io", "quay.io", "acme/team/hello")),
    ],
)
def test_names_lead_to_endpoints(name: str, expected: Endpoint) -> None:
    settings = Settings(default_registry="quay.io/acme", insecure=frozenset({"open.acme.com"}))
    assert locate(Reference.parse(name), settings) == expected


def test_a_loopback_registry_with_an_authority_is_encrypted(tmp_path: Path) -> None:
    endpoint = locate(Reference.parse("localhost:5000/x"), Settings(ca=tmp_path))
    assert (endpoint.scheme, endpoint.ca) == ("https", tmp_path)


def test_a_name_without_a_host_needs_a_default() -> None:
    with pytest.raises(NoRegistry, match="hello"):
        locate(Reference.parse("hello"), Settings())


@pytest.mark.parametrize("host", ["localhost.acme.com", "127.0.0.1.acme.com", "10.0.0.1", "acme.com:127"])
def test_what_only_looks_like_loopback_is_not(host: str) -> None:
    assert not is_loopback(host)


def test_mirrors_come_first(home: Home) -> None:
    settings = Settings(mirrors={"docker.io": ("mirror.acme.com/docker", "127.0.0.1:5000")})
    sources = Remote.sources(Reference.parse("docker.io/hello"), settings, home)
    assert [source.name for source in sources] == [
        "mirror.acme.com/docker/library/hello",
        "127.0.0.1:5000/library/hello",
        "docker.io/library/hello",
    ]


def test_a_default_registry_is_used(plain_registry: RegistryProcess, home: Home, store: Store) -> None:
    blob = store.put(b"by default")
    remote = Remote.open(Reference.parse("hello"), Settings(default_registry=f"{plain_registry.host}/team"), home)
    remote.upload_blob(blob, store)
    assert "team/hello" in set(remote.catalogue())
    remote.close()
