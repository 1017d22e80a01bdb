"""skopeo reads our archives, and we read what skopeo writes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.registry.artifact.verification import verify
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.interchange.importing import import_archive, import_artifacts
from tests.toolchain.interchange.archives import NAME, never, packed, refer


@pytest.fixture
def skopeo(real_tool: Callable[[str], str]) -> Callable[..., bytes]:
    program = real_tool("skopeo")

    def run(*arguments: str) -> bytes:
        done = subprocess.run([program, "--insecure-policy", *arguments], capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def test_skopeo_reads_what_is_packed(
    store: Store, manifest: Blob, skopeo: Callable[..., bytes], tmp_path: Path
) -> None:
    archive = tmp_path / "model.tar"
    archive.write_bytes(packed(store, manifest))
    assert skopeo("inspect", "--raw", f"oci-archive:{archive}") == store.read(manifest.digest)
    assert skopeo("inspect", "--raw", f"oci-archive:{archive}:{NAME}") == store.read(manifest.digest)
    copied = Home(tmp_path / "copied")
    copied.root.mkdir()
    skopeo("copy", f"oci-archive:{archive}", f"oci:{copied.store}:{NAME}")
    assert verify(Store.open(copied, create=False), manifest.digest).ok


def test_skopeo_reads_the_named_one_beside_its_referrers(
    store: Store, manifest: Blob, skopeo: Callable[..., bytes], tmp_path: Path
) -> None:
    refer(store, manifest, b"signed")
    archive = tmp_path / "model.tar"
    archive.write_bytes(packed(store, manifest))
    assert skopeo("inspect", "--raw", f"oci-archive:{archive}:{NAME}") == store.read(manifest.digest)


def test_archives_and_layouts_of_skopeo_are_imported(
    store: Store, manifest: Blob, other: Store, skopeo: Callable[..., bytes], tmp_path: Path
) -> None:
    archive, layout = tmp_path / "theirs.tar", tmp_path / "theirs"
    skopeo("copy", f"oci:{store.home.store}:{NAME}", f"oci-archive:{archive}:acme/hello:1")
    with archive.open("rb") as stream:
        (imported,) = import_archive(other, stream, str(archive), tell=never)
    assert (imported.name, imported.digest) == ("acme/hello:1", manifest.digest)
    skopeo("copy", f"oci:{store.home.store}:{NAME}", f"oci:{layout}:2")
    (imported,) = import_artifacts(other, layout, tell=never)
    assert (imported.name, imported.digest) == ("hello:2", manifest.digest)
    assert verify(other, manifest.digest).ok
