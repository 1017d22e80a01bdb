"""Which hosts may get the password for a registry: what ships, what `registries.yaml` says, and how it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxbuild.registry.oci.remote.errors import InvalidSettings
from mlxbuild.registry.oci.remote.realms import Realms, host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://ghcr.io/token", "ghcr.io"),
        ("https://GHCR.io:443/token", "ghcr.io"),
        ("http://127.0.0.1:5001/token", "127.0.0.1:5001"),
        ("https://[::1]:5001/token", "[::1]:5001"),
        ("https://ghcr.io@example.com/token", None),
        ("https://example.com\\@ghcr.io/token", None),
        ("https://ghcr.io\t.example.com/", None),
    ],
)
def test_a_host_is_read_as_it_is_connected_to(url: str, host: str | None) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("registry", "realm", "allowed"),
    [
        ("docker.io", "auth.docker.io", True),
        ("registry.gitlab.com", "gitlab.com", True),
        ("ghcr.io", "ghcr.io", True),
        ("ghcr.io", "auth.docker.io", False),
        ("registry.example.com", "example.com", False),
        ("registry.example.com", "registry.example.com:8443", False),
    ],
)
def test_known_pairs_ship_and_likeness_is_not_enough(registry: str, realm: str, allowed: bool) -> None:
    assert Realms().allow(registry, registry, realm) is allowed


def test_what_is_kept_leaves_the_rest_of_the_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "home" / "registries.yaml"
    Realms.load(file).keep("one.example.com", "auth.example.com")
    file.write_text(f"# ours\n{file.read_text()}  # the end\n".replace("\n  ", "\n    "))
    Realms.load(file).keep("two.example.com:5000", "auth.example.com:5001")
    assert file.read_text().startswith("# ours\nrealms:\n")
    assert "# the end" in file.read_text()
    realms = Realms.load(file)
    assert realms.allow("one.example.com", "one.example.com", "auth.example.com")
    assert realms.allow("two.example.com:5000", "two.example.com:5000", "auth.example.com:5001")
    with pytest.raises(InvalidSettings, match="edited automatically") as caught:
        realms.keep("one.example.com", "more.example.com")
    assert '"one.example.com": ["auth.example.com", "more.example.com"]' in str(caught.value.hint)


@pytest.mark.parametrize(
    "text", ["realms: [a]", "realms: {a.com: b.com}", "realm: {}", "- a", "realms: {a.com: [https://b.com/x]}", "{"]
)
def test_a_file_that_is_something_else_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "registries.yaml").write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        Realms.load(tmp_path / "registries.yaml")
    assert "registries.yaml" in str(caught.value.where)
