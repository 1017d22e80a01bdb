"""The store as skopeo sees it: a plain image layout whose artifacts copy without a changed byte."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.registry.artifact import modelpack, verification
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store

Build = Callable[..., Blob]
NAMES = ("hello:int4-1.0", "hello:latest", "acme/hello:int4-1.0", "ghcr.io/acme/hello:int4-1.0")


@pytest.fixture
def skopeo(real_tool: Callable[[str], str]) -> Callable[..., bytes]:
    program = real_tool("skopeo")

    def run(*arguments: str) -> bytes:
        done = subprocess.run([program, "--insecure-policy", *arguments], capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


@pytest.fixture
def manifest(store: Store, build_artifact: Build) -> Blob:
    blob = build_artifact()
    store.tags.set(dict.fromkeys(NAMES, modelpack.tag_descriptor(blob)))
    return blob


@pytest.mark.parametrize("name", NAMES)
def test_inspect_raw_gives_the_manifest_by_name(
    store: Store, manifest: Blob, skopeo: Callable[..., bytes], name: str
) -> None:
    assert skopeo("inspect", "--raw", f"oci:{store.home.store}:{name}") == store.read(manifest.digest)


def test_inspect_gives_the_config(store: Store, manifest: Blob, skopeo: Callable[..., bytes]) -> None:
    """Plain `inspect` wants a container image; an artifact's config is shown raw."""
    seen = json.loads(skopeo("inspect", "--raw", "--config", f"oci:{store.home.store}:hello:int4-1.0"))
    assert seen == Artifact.open(store, manifest.digest).config


def test_copies_to_a_folder_are_identical(
    store: Store, manifest: Blob, skopeo: Callable[..., bytes], tmp_path: Path
) -> None:
    skopeo("copy", f"oci:{store.home.store}:hello:int4-1.0", f"dir:{tmp_path / 'copy'}")
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == store.read(manifest.digest)
    for file in Artifact.open(store, manifest.digest).files:
        assert (tmp_path / "copy" / file.blob.digest.hex).read_bytes() == store.read(file.blob.digest)


def test_a_layout_that_skopeo_wrote_is_a_store(
    store: Store, manifest: Blob, skopeo: Callable[..., bytes], tmp_path: Path
) -> None:
    other = Home(tmp_path / "other")
    other.root.mkdir()
    skopeo("copy", f"oci:{store.home.store}:hello:int4-1.0", f"oci:{other.store}:hello:copied")
    copied = Store.open(other, create=False)
    assert copied.tags.resolve(Reference.parse("hello:copied")) == manifest.digest
    assert verification.verify(copied, manifest.digest).ok


def test_what_skopeo_writes_into_the_store_and_what_we_write_live_together(
    store: Store, manifest: Blob, skopeo: Callable[..., bytes]
) -> None:
    skopeo("copy", f"oci:{store.home.store}:hello:int4-1.0", f"oci:{store.home.store}:hello:theirs")
    store.tags.set({"hello:ours": modelpack.tag_descriptor(manifest)})
    tags = dict(store.tags.items())
    assert {"hello:theirs", "hello:ours", "hello:latest"} <= set(tags)
    assert {descriptor.digest for descriptor in tags.values()} == {manifest.digest}
    assert skopeo("inspect", "--raw", f"oci:{store.home.store}:hello:ours") == store.read(manifest.digest)
