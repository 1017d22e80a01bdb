"""Blobs, manifests and lists against the real registry, with nothing in the way."""

from __future__ import annotations

import json
import resource
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.oci.remote import listing, manifests
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.errors import ManifestTooLarge, ManifestUnknown, RemoteBlobUnknown, RepositoryUnknown
from mlxbuild.registry.store.errors import BlobMissing, DiskFull
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess, docker_registry
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy

Open = Callable[..., Remote]
CONTENT = bytes(range(256)) * 12_000 + b"end"


@pytest.fixture
def remote(plain_registry: RegistryProcess, open_remote: Open) -> Remote:
    """A repository of the test's own."""
    return open_remote(f"{plain_registry.host}/acme/{secrets.token_hex(8)}")


def manifest_of(config: Blob, **changes: object) -> bytes:
    """A manifest, with spaces that no canonical writer would set."""
    document = {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": str(config.digest),
            "size": config.size_bytes,
        },
        "layers": [],
        **changes,
    }
    return json.dumps(document, indent=3).encode()


@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["empty", "one byte", "3 MB"])
@pytest.mark.parametrize("chunk_bytes", [1_000_000, 10_000_000], ids=["chunks", "whole"])
def test_a_blob_goes_there_and_comes_back(
    plain_registry: RegistryProcess, open_remote: Open, store: Store, content: bytes, chunk_bytes: int
) -> None:
    remote = open_remote(f"{plain_registry.host}/acme/there-and-back-{chunk_bytes}", chunk_bytes=chunk_bytes)
    blob = store.put(content)
    moved: list[int] = []
    assert remote.upload_blob(blob, store, moved.append) == len(content)
    assert sum(moved) == len(content)
    assert remote.has_blob(blob.digest)
    assert remote.upload_blob(blob, store) == 0, "it is there already"
    store.remove(blob.digest)
    moved.clear()
    assert remote.download_blob(blob, store, moved.append) == len(content)
    assert sum(moved) == len(content)
    assert store.read(blob.digest) == content
    assert store.path(blob.digest).stat().st_mode & 0o777 == 0o444
    assert remote.download_blob(blob, store) == 0
    assert list((store.home.cache / "partial").iterdir()) == []


def test_a_blob_that_the_store_misses_is_not_sent(remote: Remote, store: Store) -> None:
    with pytest.raises(BlobMissing):
        remote.upload_blob(Blob(Digest.of_bytes(b"not there"), 9), store)


def test_a_blob_that_the_registry_misses_is_named(remote: Remote, store: Store) -> None:
    with pytest.raises(RemoteBlobUnknown) as caught:
        remote.download_blob(Blob(Digest.of_bytes(b"not there"), 9), store)
    assert caught.value.where is not None
    assert str(caught.value.where).startswith("GET http://127.0.0.1:")


def test_blobs_are_mounted_from_other_repositories(
    plain_registry: RegistryProcess, open_remote: Open, store: Store
) -> None:
    source = open_remote(f"{plain_registry.host}/acme/mount-source")
    target = open_remote(f"{plain_registry.host}/acme/mount-target")
    blob = store.put(b"to be mounted")
    source.upload_blob(blob, store)
    assert not target.has_blob(blob.digest)
    assert not target.mount_blob(blob.digest, "acme/elsewhere")
    assert target.mount_blob(blob.digest, "acme/mount-source")
    assert target.has_blob(blob.digest)


def test_blobs_are_copied_between_registries_and_within_one(
    plain_registry: RegistryProcess, open_remote: Open, store: Store, tmp_path: Path
) -> None:
    blob = store.put(CONTENT)
    source = open_remote(f"{plain_registry.host}/acme/copied")
    source.upload_blob(blob, store)
    with docker_registry(tmp_path / "other") as other:
        elsewhere = open_remote(f"{other.host}/acme/copied")
        moved: list[int] = []
        assert elsewhere.copy_blob(blob, source, moved.append) == blob.size_bytes
        assert sum(moved) == blob.size_bytes
        assert elsewhere.has_blob(blob.digest)
    beside = open_remote(f"{plain_registry.host}/acme/copied-beside")
    assert beside.copy_blob(blob, source) == 0, "mounted"
    assert beside.has_blob(blob.digest)


def test_manifests_keep_their_bytes(remote: Remote, store: Store) -> None:
    config = store.put(b"{}")
    remote.upload_blob(config, store)
    data = manifest_of(config)
    assert remote.head_manifest("v1") is None
    put = remote.put_manifest(data, manifests.OCI_MANIFEST, "v1")
    assert put.digest == Digest.of_bytes(data)
    assert not put.subject_accepted
    for name in ("v1", put.digest):
        raw = remote.get_manifest(name)
        assert raw.data == data
        assert raw.media_type == manifests.OCI_MANIFEST
        descriptor = remote.head_manifest(name)
        assert descriptor == manifests.RemoteDescriptor(put.digest, manifests.OCI_MANIFEST, len(data))
    assert list(remote.tags()) == ["v1"]
    assert remote.referrers(put.digest) is None, "this registry has no such API"


def test_a_manifest_of_a_missing_blob_is_refused(remote: Remote) -> None:
    with pytest.raises(RemoteBlobUnknown):
        remote.put_manifest(manifest_of(Blob(Digest.of_bytes(b"none"), 4)), manifests.OCI_MANIFEST, "v1")


def test_what_is_not_there_is_told_apart(remote: Remote, store: Store) -> None:
    with pytest.raises(RepositoryUnknown):
        list(remote.tags())
    with pytest.raises(ManifestUnknown):
        remote.get_manifest("v1")


def test_huge_manifests_are_refused(plain_registry: RegistryProcess, open_remote: Open) -> None:
    with FaultProxy(plain_registry.host) as proxy:
        proxy.faults.append(Fault("GET", "/manifests/", status=200, body=b" " * (manifests.LIMIT_BYTES + 1)))
        with pytest.raises(ManifestTooLarge):
            open_remote(f"{proxy.host}/acme/any").get_manifest("v1")


def test_lists_are_read_page_by_page(
    plain_registry: RegistryProcess, open_remote: Open, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_PAGE", 2)
    blob = store.put(b"x")
    names = [f"pages/{number}" for number in range(5)]
    for name in names:
        remote = open_remote(f"{plain_registry.host}/{name}")
        remote.upload_blob(blob, store)
        remote.put_manifest(manifest_of(blob), manifests.OCI_MANIFEST, "v1")
    assert list(remote.catalogue("pages/")) == names
    for number in range(5):
        remote.put_manifest(manifest_of(blob), manifests.OCI_MANIFEST, f"v{number}")
    assert sorted(remote.tags()) == [f"v{number}" for number in range(5)]


def test_two_fetches_of_one_blob_move_it_once(
    plain_registry: RegistryProcess, open_remote: Open, store: Store, home: Home
) -> None:
    blob = store.put(CONTENT)
    with FaultProxy(plain_registry.host) as proxy:
        open_remote(f"{plain_registry.host}/acme/once").upload_blob(blob, store)
        store.remove(blob.digest)
        begin = threading.Barrier(4)

        def fetch(_: int) -> int:
            begin.wait()
            return open_remote(f"{proxy.host}/acme/once").download_blob(blob, store)

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(fetch, range(4))) == [0, 0, 0, blob.size_bytes]
        assert len(proxy.asked("GET", "/blobs/")) == 1
    store.verify(blob.digest)


FETCH = """
import sys
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from pathlib import Path
home = Home(Path(sys.argv[1]))
remote = Remote.open(Reference.parse(sys.argv[2]), Settings(), home)
print(remote.download_blob(Blob(Digest.parse(sys.argv[3]), int(sys.argv[4])), Store.open(home)))
"""


def fetching(home: Home, name: str, blob: Blob) -> subprocess.Popen[str]:
    """Another process that fetches a blob."""
    words = [sys.executable, "-c", FETCH, str(home.root), name, str(blob.digest), str(blob.size_bytes)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_two_processes_move_one_blob_once(
    plain_registry: RegistryProcess, open_remote: Open, store: Store, home: Home
) -> None:
    blob = store.put(CONTENT)
    open_remote(f"{plain_registry.host}/acme/processes").upload_blob(blob, store)
    store.remove(blob.digest)
    with FaultProxy(plain_registry.host) as proxy:
        both = [fetching(home, f"{proxy.host}/acme/processes", blob) for _ in range(2)]
        moved = sorted(int(process.communicate(timeout=60)[0]) for process in both)
        assert len(proxy.asked("GET", "/blobs/")) == 1
    assert moved == [0, blob.size_bytes]
    store.verify(blob.digest)


def test_a_killed_fetch_is_continued(
    plain_registry: RegistryProcess, open_remote: Open, store: Store, home: Home
) -> None:
    blob = store.put(CONTENT)
    open_remote(f"{plain_registry.host}/acme/killed").upload_blob(blob, store)
    store.remove(blob.digest)
    partial = store.home.cache / "partial" / blob.digest.hex
    half = len(CONTENT) // 2
    with FaultProxy(plain_registry.host) as proxy:
        proxy.faults.append(Fault("GET", "/blobs/", stall=half))
        process = fetching(home, f"{proxy.host}/acme/killed", blob)
        while not partial.exists() or partial.stat().st_size < half:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert not store.has(blob.digest)
        assert open_remote(f"{proxy.host}/acme/killed").download_blob(blob, store) == len(CONTENT) - half
    store.verify(blob.digest)


def test_a_full_disk_keeps_what_fits_and_the_store_as_it_was(
    remote: Remote, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = store.put(CONTENT)
    remote.upload_blob(blob, store)
    store.remove(blob.digest)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(DiskFull):
            remote.download_blob(blob, store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert not store.has(blob.digest)
    kept = (store.home.cache / "partial" / blob.digest.hex).stat().st_size
    assert kept == 1_000_000
    assert remote.download_blob(blob, store) == blob.size_bytes - kept
    store.verify(blob.digest)
