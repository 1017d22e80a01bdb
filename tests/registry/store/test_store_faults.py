"""Full disks, read-only disks and lost caches: clear errors, and nothing half done."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlxbuild.registry.artifact import folder, modelpack, referrers, verification
from mlxbuild.registry.artifact.files import ArtifactFile, FileRole
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store import leases
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.errors import DiskFull, StoreFailure, StoreReadOnly
from mlxbuild.registry.store.gc import collect
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import Descriptor
from tests.disks import fill, make_read_only, small_disk

DISK_BYTES = 2 * 1024 * 1024


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real filesystem of 2 MiB."""
    with small_disk(tmp_path / "disk", str(DISK_BYTES)) as disk:
        yield disk


def describe(blob: Blob) -> Descriptor:
    return Descriptor(blob.digest, blob.size_bytes, "application/octet-stream")


def put_until_full(store: Store) -> list[Blob]:
    """Blobs of 64 KiB, until no more fits."""
    blobs: list[Blob] = []

    def put_on() -> None:
        while True:
            blobs.append(store.put(len(blobs).to_bytes(4, "big") * 16384))

    with pytest.raises(DiskFull):
        put_on()
    return blobs


def test_a_full_disk_is_named_and_leaves_nothing_behind(tiny_disk: Path) -> None:
    store = Store.open(Home(tiny_disk / "home"))
    kept = store.put(b"kept" * 1000)
    store.tags.set({"kept:latest": describe(kept)})
    loose = put_until_full(store)
    assert len(loose) > 16
    with pytest.raises(DiskFull) as caught, store.writer() as writer:
        writer.write(b"x" * DISK_BYTES)
    assert caught.value.exit_code == 6
    assert "`mlxbuild rm` and `mlxbuild gc` work" in (caught.value.hint or "")
    assert list((store.home.cache / "tmp").iterdir()) == []
    for blob in store.blobs():
        store.verify(blob.digest)
    # And gc gets out of it, without needing room itself.
    assert set(collect(store, grace_seconds=0).removed) == set(loose)
    store.put(b"room again" * 10_000)
    assert store.tags.resolve(Reference.parse("kept")) == kept.digest


def test_tags_on_a_full_disk_stay_as_they_were(tiny_disk: Path) -> None:
    store = Store.open(Home(tiny_disk / "home"))
    kept = store.put(b"kept")
    store.tags.set({"kept:latest": describe(kept)})
    fill(tiny_disk)
    before = (store.home.store / "index.json").read_bytes()
    with pytest.raises(DiskFull):
        store.tags.set({f"kept:t{number}": describe(kept) for number in range(100)})
    assert (store.home.store / "index.json").read_bytes() == before
    assert list((store.home.cache / "tmp").iterdir()) == []


def test_names_are_taken_away_and_garbage_is_collected_on_a_full_disk(
    tiny_disk: Path, description: modelpack.ArtifactDescription
) -> None:
    store = Store.open(Home(tiny_disk / "home"))
    for number in range(3):
        weights = store.put(bytes([number]) * 100_000)
        artifact = modelpack.build(store, description, [ArtifactFile("weights", FileRole.WEIGHT, weights)])
        store.tags.set({f"kept:t{number}": modelpack.tag_descriptor(artifact)})
        referrers.attach(store, artifact.digest, b"evidence", "application/test", {})  # which is listed without a name
    for left in (2, 1, 0):
        ballast = fill(tiny_disk)
        store.tags.remove(f"kept:t{left}")
        fill(tiny_disk)
        assert collect(store, grace_seconds=0).freed_bytes > 100_000
        assert len(store.tags.items()) == left
        assert len(store.tags.entries()) == 2 * left
        assert store.put(b"there is room again").size_bytes
        ballast.unlink()


def test_the_room_for_removals_grows_with_the_tags(tiny_disk: Path) -> None:
    store = Store.open(Home(tiny_disk / "home"))
    blob = store.put(b"kept")
    names = [f"kept:t{number}" for number in range(1500)]
    store.tags.set(dict.fromkeys(names, describe(blob)))
    assert (store.home.store / "index.json").stat().st_size > 200_000
    fill(tiny_disk)
    for name in names[:3]:
        store.tags.remove(name)
    assert len(store.tags.items()) == 1497


def test_without_room_in_reserve_a_full_disk_keeps_names_and_says_so(tiny_disk: Path) -> None:
    store = Store.open(Home(tiny_disk / "home"))
    store.tags.set({"kept:latest": describe(store.put(b"kept"))})
    (store.home.cache / "reserve").unlink()  # as in a home of before, or one whose cache was deleted
    ballast = fill(tiny_disk)
    with pytest.raises(DiskFull):
        store.tags.remove("kept:latest")
    assert [name for name, _ in store.tags.items()] == ["kept:latest"]
    ballast.unlink()
    store.tags.remove("kept:latest")
    assert (store.home.cache / "reserve").stat().st_size > 0


def test_a_file_size_limit_is_a_full_disk(store: Store) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            try:
                store.put(b"x" * 200_000)
            except DiskFull:
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(store.blobs()) == []
    assert list((store.home.cache / "tmp").iterdir()) == []


def test_a_read_only_store_reads_and_refuses_clearly(
    tiny_disk: Path, description: modelpack.ArtifactDescription
) -> None:
    home = Home(tiny_disk / "home")
    there = Store.open(home)
    blob = there.put(b"data")
    file = ArtifactFile("config.json", FileRole.CONFIG, blob)
    artifact = modelpack.build(there, description, [file])
    there.tags.set({"hello:latest": modelpack.tag_descriptor(artifact)})
    made = folder.model_folder(there, artifact.digest)
    make_read_only(tiny_disk)

    there = Store.open(home)
    with leases.shared(home):
        assert there.tags.resolve(Reference.parse("hello")) == artifact.digest
        assert verification.verify(there, artifact.digest).ok
        assert folder.model_folder(there, artifact.digest) == made
        assert there.put(b"data") == blob
        works: list[Callable[[], object]] = [
            lambda: there.put(b"other"),
            lambda: there.tags.remove("hello:latest"),
            lambda: there.tags.set({"hello:v1": describe(blob)}),
            lambda: there.remove(blob.digest),
            lambda: there.quarantine(blob.digest),
        ]
        for work in works:
            with pytest.raises(StoreReadOnly) as caught:
                work()
            assert caught.value.exit_code == 6
            assert caught.value.where is not None
            assert caught.value.hint is not None
    with pytest.raises(StoreReadOnly):
        collect(there, grace_seconds=0)
    assert there.has(blob.digest)


def test_a_home_that_cannot_be_made_is_named(tiny_disk: Path) -> None:
    make_read_only(tiny_disk)
    with pytest.raises(StoreReadOnly):
        Store.open(Home(tiny_disk / "home"))


def test_a_store_and_cache_on_two_disks_are_refused(tiny_disk: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    store = Store.open(home)
    shutil.rmtree(home.cache)
    home.cache.symlink_to(tiny_disk)
    with pytest.raises(StoreFailure, match="two filesystems"):
        store.put(b"data")
    assert list(store.blobs()) == []
    assert list((tiny_disk / "tmp").iterdir()) == []


def test_other_failures_of_the_disk_say_what_and_where(store: Store) -> None:
    digest = Digest.of_bytes(b"data")
    (store.home.store / "blobs" / "sha256" / digest.hex).mkdir()
    with pytest.raises(StoreFailure) as caught:
        store.put(b"data")
    assert digest.hex in str(caught.value.where)
    with pytest.raises(StoreFailure):
        store.read(digest)
    with pytest.raises(StoreFailure, match="the disk refused"), disk_errors(store.home.store):
        (store.home.store / "absent").read_bytes()
