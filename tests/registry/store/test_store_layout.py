"""Blobs: written once, verified, set aside when damaged; by several threads and processes at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import stat
import threading
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.errors import BlobCorrupt, BlobMissing, BlobTooLarge, StoreFailure
from mlxbuild.registry.store.layout import Store

DATA = b"hello" * 1000
ABSENT = Digest.of_bytes(b"absent")


def damage(store: Store, digest: Digest, data: bytes) -> None:
    path = store.path(digest)
    path.chmod(0o644)
    path.write_bytes(data)


def temporaries(home: Home) -> list[Path]:
    return list((home.cache / "tmp").iterdir())


def test_a_new_store_is_an_empty_image_layout(store: Store, home: Home) -> None:
    assert json.loads((home.store / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((home.store / "index.json").read_bytes())
    assert index["schemaVersion"] == 2
    assert index["manifests"] == []
    assert list(store.blobs()) == []
    assert temporaries(home) == []


def test_put_stores_read_only_under_the_digest(store: Store, home: Home) -> None:
    blob = store.put(DATA)
    assert blob == Blob(Digest.of_bytes(DATA), len(DATA))
    assert store.path(blob.digest) == home.store / "blobs" / "sha256" / blob.digest.hex
    assert stat.S_IMODE(store.path(blob.digest).stat().st_mode) & 0o222 == 0
    assert store.read(blob.digest) == DATA
    assert store.size(blob.digest) == len(DATA)
    assert store.has(blob.digest)
    assert list(store.blobs()) == [blob]
    assert temporaries(home) == []


@pytest.mark.parametrize("durable", [True, False])
def test_put_again_writes_nothing(store: Store, durable: bool) -> None:
    blob = store.put(DATA, durable=durable)
    before = store.path(blob.digest).stat()
    assert store.put(DATA, durable=durable) == blob
    assert store.path(blob.digest).stat().st_ino == before.st_ino


def test_writer_takes_any_contiguous_buffer(store: Store) -> None:
    words = memoryview(bytearray(range(64))).cast("I", shape=[4, 4])
    with store.writer() as writer:
        for buffer in (b"", words, bytearray(b"end")):
            writer.write(buffer)
        assert writer.size_bytes == 67
        blob = writer.commit()
    assert store.read(blob.digest) == bytes(range(64)) + b"end"


def test_writer_of_many_pieces_equals_one(store: Store) -> None:
    data = os.urandom(3 * 1024 * 1024 + 17)
    with store.writer(durable=False) as writer:
        writer.write(data)
        blob = writer.commit()
    store.verify(blob.digest)
    assert blob == Blob(Digest.of_bytes(data), len(data))


def test_writer_left_without_commit_leaves_nothing(store: Store, home: Home) -> None:
    with store.writer() as writer:
        writer.write(DATA)
    with pytest.raises(TypeError), store.writer() as writer:
        writer.write([*DATA])  # type: ignore[arg-type]
    assert list(store.blobs()) == []
    assert temporaries(home) == []


def test_commit_refuses_other_content_than_expected(store: Store, home: Home) -> None:
    with store.writer() as writer:
        writer.write(DATA)
        with pytest.raises(BlobCorrupt) as caught:
            writer.commit(ABSENT)
    assert caught.value.digest == ABSENT
    assert list(store.blobs()) == []
    assert temporaries(home) == []


def test_missing_blobs_are_named(store: Store) -> None:
    for use in (store.size, store.path, store.read, store.verify, store.quarantine):
        with pytest.raises(BlobMissing) as caught:
            use(ABSENT)
        assert caught.value.digest == ABSENT
        assert str(ABSENT) in caught.value.message
        assert pickle.loads(pickle.dumps(caught.value)).digest == ABSENT
    assert not store.has(ABSENT)
    store.remove(ABSENT)


def test_damage_is_found_set_aside_and_healed(store: Store, home: Home) -> None:
    digest = store.put(DATA).digest
    damage(store, digest, b"jello" * 1000)
    for use in (store.read, store.verify):
        with pytest.raises(BlobCorrupt) as caught:
            use(digest)
        assert caught.value.exit_code == 10
        assert caught.value.digest == digest
    aside = store.quarantine(digest)
    assert aside.parent == home.cache / "quarantine"
    assert aside.read_bytes() == b"jello" * 1000
    assert not store.has(digest)
    assert store.read(store.put(DATA).digest) == DATA


@pytest.mark.parametrize("wrong", [b"", b"hell"])
def test_a_truncated_blob_is_replaced_by_put(store: Store, wrong: bytes) -> None:
    digest = store.put(DATA).digest
    damage(store, digest, wrong)
    store.put(DATA)
    assert store.read(digest) == DATA


def test_read_is_bounded(store: Store) -> None:
    digest = store.put(DATA).digest
    assert store.read(digest, limit_bytes=len(DATA)) == DATA
    with pytest.raises(BlobTooLarge):
        store.read(digest, limit_bytes=len(DATA) - 1)


def test_verify_reports_every_byte(store: Store) -> None:
    digest = store.put(os.urandom(1_000_000)).digest
    counted: list[int] = []
    store.verify(digest, counted.append)
    assert sum(counted) == 1_000_000
    assert len(counted) > 1


def test_opening_needs_a_store_of_this_version(home: Home) -> None:
    with pytest.raises(StoreFailure, match="no store"):
        Store.open(home, create=False)
    assert not home.root.exists()
    Store.open(home)
    Store.open(home, create=False)
    for content in ('{"imageLayoutVersion":"2.0.0"}', "[]", "{"):
        (home.store / "oci-layout").write_text(content)
        with pytest.raises(StoreFailure, match="not an OCI image layout"):
            Store.open(home)


def test_the_cache_can_be_deleted_at_any_time(store: Store, home: Home) -> None:
    (home.cache / "tmp").rmdir()
    assert store.read(store.put(DATA).digest) == DATA


def test_foreign_files_among_blobs_are_passed_over(store: Store, home: Home) -> None:
    (home.store / "blobs" / "sha256" / ".DS_Store").write_bytes(b"")
    (home.store / "notes.txt").write_bytes(b"")
    blob = store.put(DATA)
    assert list(Store.open(home).blobs()) == [blob]


def test_a_store_can_be_sent_to_another_process(store: Store) -> None:
    blob = store.put(DATA)
    assert pickle.loads(pickle.dumps(store)).read(blob.digest) == DATA


@pytest.mark.parametrize(("durable", "order"), [(True, ["fsync", "replace", "fsync"]), (False, ["replace"])])
def test_durable_blobs_reach_the_disk_before_their_name_does(
    store: Store, monkeypatch: pytest.MonkeyPatch, durable: bool, order: list[str]
) -> None:
    seen: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (seen.append(name), real(*given))[1])
    store.put(DATA, durable=durable)
    assert seen == order


def test_several_blobs_share_the_sync_of_their_names(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    known = store.put(b"known")
    seen: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (seen.append(name), real(*given))[1])
    blobs = store.put_all(b"one", b"known", b"two", b"one")
    assert seen == ["fsync", "replace", "fsync", "replace", "fsync"]
    assert [store.read(blob.digest) for blob in blobs] == [b"one", b"known", b"two", b"one"]
    assert blobs[1] == known
    store.put_all(b"one", b"known")
    assert store.put_all() == ()
    assert len(seen) == 5


def put_many(root: Path, barrier: threading.Barrier, numbers: range) -> None:
    store = Store.open(Home(root))
    barrier.wait()
    for number in numbers:
        with store.writer() as writer:
            writer.write(b"%d" % number)
            writer.write(b"x" * 2000)
            writer.commit()


def test_two_processes_of_two_threads_write_the_same_blobs(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    numbers = range(60)
    workers = [context.Process(target=put_many, args=(tmp_path, barrier, part)) for part in (numbers, numbers[::-1])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    store = Store.open(Home(tmp_path), create=False)
    barrier_here = threading.Barrier(2)
    threads = [threading.Thread(target=put_many, args=(tmp_path, barrier_here, range(40, 100))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    blobs = set(store.blobs())
    assert blobs == {Blob(Digest.of_bytes(b"%d" % n + b"x" * 2000), len(b"%d" % n) + 2000) for n in range(100)}
    for blob in blobs:
        store.verify(blob.digest)
    assert temporaries(store.home) == []
