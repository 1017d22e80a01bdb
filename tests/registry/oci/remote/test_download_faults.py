"""Everything that goes wrong while a blob comes: the fetch mends it or says it, and nothing wrong stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.errors import RegistryFailure, RegistryUnreachable, RemoteBlobUnknown, TransferCorrupt
from mlxbuild.registry.store.errors import StoreFailure
from mlxbuild.registry.store.layout import Store
from tests.registry.oci.remote.conftest import CONTENT, HALF
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy


def kept(store: Store, blob: Blob) -> int | None:
    """How many bytes of a blob wait for the next fetch."""
    path = store.home.cache / "partial" / blob.digest.hex
    return path.stat().st_size if path.exists() else None


def test_a_reset_fetch_comes_through(
    remote: Remote, proxy: FaultProxy, there: Blob, store: Store, pauses: list[float]
) -> None:
    """What had arrived and was not read yet is lost with the connection."""
    proxy.faults.append(Fault("GET", "/blobs/", reset=HALF, times=2))
    remote.download_blob(there, store)
    store.verify(there.digest)


@pytest.mark.parametrize("fault", ["truncate", "stall"])
def test_an_interrupted_fetch_goes_on_where_it_stopped(
    remote: Remote, proxy: FaultProxy, there: Blob, store: Store, fault: str, pauses: list[float]
) -> None:
    proxy.faults.append(Fault("GET", "/blobs/", **{fault: HALF}))  # type: ignore[arg-type]
    moved: list[int] = []
    assert remote.download_blob(there, store, moved.append) == len(CONTENT)
    assert sum(moved) == len(CONTENT)
    assert [seen.range for seen in proxy.asked("GET", "/blobs/")] == [None, f"bytes={HALF}-"]
    store.verify(there.digest)


def test_an_ended_fetch_is_continued_by_the_next(remote: Remote, proxy: FaultProxy, there: Blob, store: Store) -> None:
    def give_up(count: int) -> None:
        nonlocal passed
        passed += count
        if passed >= HALF:
            raise KeyboardInterrupt

    passed = 0
    with pytest.raises(KeyboardInterrupt):
        remote.download_blob(there, store, give_up)
    assert not store.has(there.digest)
    held = kept(store, there)
    assert held is not None
    assert HALF <= held < len(CONTENT)
    assert remote.download_blob(there, store) == len(CONTENT) - held
    store.verify(there.digest)


def test_a_whole_partial_needs_no_request(remote: Remote, proxy: FaultProxy, there: Blob, store: Store) -> None:
    partial = store.home.cache / "partial" / there.digest.hex
    partial.parent.mkdir(parents=True)
    partial.write_bytes(CONTENT)
    assert remote.download_blob(there, store) == 0
    assert proxy.seen == []
    store.verify(there.digest)


@pytest.mark.parametrize("bad", [CONTENT[:HALF][::-1], CONTENT + b"more", CONTENT[::-1]])
def test_a_bad_partial_is_thrown_away(remote: Remote, there: Blob, store: Store, bad: bytes) -> None:
    partial = store.home.cache / "partial" / there.digest.hex
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bad)
    remote.download_blob(there, store)
    store.verify(there.digest)


def test_a_partial_that_is_a_link_is_not_written_through(
    remote: Remote, there: Blob, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    partial = store.home.cache / "partial" / there.digest.hex
    partial.parent.mkdir(parents=True)
    partial.symlink_to(tmp_path / "precious")
    with pytest.raises(StoreFailure, match="something else is in the place"):
        remote.download_blob(there, store)
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_corrupted_byte_is_found_and_fetched_again(
    remote: Remote, proxy: FaultProxy, there: Blob, store: Store
) -> None:
    proxy.faults.append(Fault("GET", "/blobs/", corrupt=HALF))
    moved: list[int] = []
    assert remote.download_blob(there, store, moved.append) == 2 * len(CONTENT)
    assert sum(moved) == len(CONTENT)
    store.verify(there.digest)


def test_bytes_that_stay_corrupt_are_refused_and_not_kept(
    remote: Remote, proxy: FaultProxy, there: Blob, store: Store
) -> None:
    proxy.faults.append(Fault("GET", "/blobs/", corrupt=HALF, times=9))
    with pytest.raises(TransferCorrupt) as caught:
        remote.download_blob(there, store)
    assert caught.value.exit_code == 10
    assert str(there.digest) in str(caught.value.where)
    assert not store.has(there.digest)
    assert kept(store, there) is None


@pytest.mark.parametrize("told", ["bytes 0-9/2048000", "bytes 1000001-2047999/2048000", "bytes 7", "", "lies"])
def test_a_lie_about_the_part_is_answered_by_asking_for_the_whole(
    remote: Remote, proxy: FaultProxy, there: Blob, store: Store, told: str
) -> None:
    proxy.faults += [
        Fault("GET", "/blobs/", truncate=HALF),
        Fault("GET", "/blobs/", headers={"Content-Range": told}),
    ]
    remote.download_blob(there, store)
    assert [seen.range for seen in proxy.asked("GET", "/blobs/")] == [None, f"bytes={HALF}-", None]
    store.verify(there.digest)


def test_a_part_of_other_bytes_is_found(remote: Remote, proxy: FaultProxy, there: Blob, store: Store) -> None:
    """A proxy that cuts the beginning off and calls it the part that was asked for."""
    told = {"Content-Range": f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT)}"}
    shifted = CONTENT[HALF - 5 : -5]
    proxy.faults += [
        Fault("GET", "/blobs/", truncate=HALF),
        Fault("GET", "/blobs/", status=206, body=shifted, headers=told),
    ]
    remote.download_blob(there, store)
    store.verify(there.digest)


def test_a_registry_without_parts_sends_the_whole_again(
    remote: Remote, proxy: FaultProxy, there: Blob, store: Store
) -> None:
    proxy.faults += [Fault("GET", "/blobs/", truncate=HALF), Fault("GET", "/blobs/", no_range=True)]
    moved: list[int] = []
    remote.download_blob(there, store, moved.append)
    assert sum(moved) == len(CONTENT)
    store.verify(there.digest)


def test_a_registry_that_never_comes_further_ends_the_fetch(
    remote: Remote, proxy: FaultProxy, there: Blob, store: Store, pauses: list[float]
) -> None:
    proxy.faults.append(Fault("GET", "/blobs/", truncate=HALF, no_range=True, times=99))
    with pytest.raises(RegistryUnreachable):
        remote.download_blob(there, store)
    assert len(proxy.asked("GET", "/blobs/")) == 4, "one that came further, and three that did not"
    assert kept(store, there) == HALF


@pytest.mark.parametrize("difference", [-1, 1])
def test_another_size_than_the_manifest_says_is_refused(
    remote: Remote, there: Blob, store: Store, difference: int
) -> None:
    with pytest.raises(TransferCorrupt):
        remote.download_blob(Blob(there.digest, there.size_bytes + difference), store)
    assert not store.has(there.digest)
    assert kept(store, there) is None


def test_endless_bytes_end(remote: Remote, proxy: FaultProxy, there: Blob, store: Store) -> None:
    """More bytes than announced, in an answer without a length."""
    proxy.faults.append(
        Fault("GET", "/blobs/", status=200, body=CONTENT * 2, headers={"Content-Length": ""}, truncate=None, times=9)
    )
    with pytest.raises((TransferCorrupt, RegistryFailure)):
        remote.download_blob(there, store)
    assert not store.has(there.digest)


def test_a_blob_that_is_only_read_is_checked_too(remote: Remote, proxy: FaultProxy, there: Blob) -> None:
    assert remote.read_blob(there) == CONTENT
    for wrong in (Fault("GET", "/blobs/", corrupt=HALF), Fault("GET", "/blobs/", status=200, body=CONTENT + b"more")):
        proxy.faults.append(wrong)
        with pytest.raises(TransferCorrupt):
            remote.read_blob(there)
    with pytest.raises(RemoteBlobUnknown):
        remote.read_blob(Blob(Digest.of_bytes(b"absent"), 6))
