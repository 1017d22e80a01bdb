"""Garbage collection: what stays, what goes, and what a crash in the middle leaves."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxbuild.registry.artifact import folder, media_types, modelpack, verification
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store import leases
from mlxbuild.registry.store.gc import DamagedTag, SoftRoot, collect
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import Descriptor

Build = Callable[..., Blob]
CrashBefore = Callable[[int, Path, Callable[[], object]], bool]


def digests(blobs: Any) -> set[Digest]:
    return {blob.digest for blob in blobs}


def put_referrer(store: Store, subject: Blob, text: bytes) -> tuple[Blob, Blob]:
    layer = store.put(text)
    config = store.put(b"{}")
    described = {"mediaType": "application/x", "digest": str(layer.digest), "size": layer.size_bytes}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": "application/x",
        "config": {"mediaType": "application/x", "digest": str(config.digest), "size": 2},
        "layers": [described],
        "subject": {"mediaType": "m", "digest": str(subject.digest), "size": subject.size_bytes},
    }
    return store.put(canonical_json.encode(manifest)), layer


def list_without_name(store: Store, blob: Blob) -> None:
    path = store.home.store / "index.json"
    index = json.loads(path.read_bytes())
    index["manifests"].append({"mediaType": "m", "digest": str(blob.digest), "size": blob.size_bytes})
    path.write_text(json.dumps(index))


def test_only_what_a_tag_reaches_stays(store: Store, build_artifact: Build) -> None:
    kept, gone = build_artifact(), build_artifact(**{"config.json": b"{}1"})
    loose = store.put(b"loose")
    store.tags.set({"hello:latest": modelpack.tag_descriptor(kept)})
    before = digests(store.blobs())
    dry = collect(store, grace_seconds=0, dry_run=True)
    assert digests(store.blobs()) == before
    result = collect(store, grace_seconds=0)
    assert (result.removed, result.kept) == (dry.removed, dry.kept)
    assert {loose.digest, gone.digest} <= digests(result.removed)
    assert digests(store.blobs()) == before - digests(result.removed) == digests(result.kept)
    assert result.freed_bytes == sum(blob.size_bytes for blob in result.removed) > 0
    assert verification.verify(store, kept.digest).ok
    assert collect(store, grace_seconds=0).removed == ()


def test_nothing_stays_without_roots(store: Store, build_artifact: Build) -> None:
    build_artifact()
    collect(store, grace_seconds=0)
    assert list(store.blobs()) == []


def test_extra_roots_reach_too(store: Store, build_artifact: Build) -> None:
    artifact = build_artifact()
    assert collect(store, roots=[artifact.digest], grace_seconds=0).removed == ()
    assert verification.verify(store, artifact.digest).ok


def test_young_blobs_stay(store: Store, build_artifact: Build) -> None:
    artifact = build_artifact()
    old = store.put(b"old")
    os.utime(store.path(old.digest), (time.time() - 7200,) * 2)
    assert collect(store).removed == (old,)
    assert verification.verify(store, artifact.digest).ok


def test_referrers_live_as_long_as_their_subject(store: Store, build_artifact: Build) -> None:
    artifact = build_artifact()
    signature, payload = put_referrer(store, artifact, b"signature")
    of_signature, deep = put_referrer(store, signature, b"signature of the signature")
    store.tags.set({"hello:latest": modelpack.tag_descriptor(artifact)})
    list_without_name(store, signature)
    assert collect(store, grace_seconds=0).removed == ()
    store.tags.remove("hello:latest")
    gone = digests(collect(store, grace_seconds=0).removed)
    assert {signature.digest, payload.digest, of_signature.digest, deep.digest, artifact.digest} <= gone
    assert store.tags.entries() == []


def test_what_others_list_without_a_name_stays(store: Store) -> None:
    blob = store.put(b"not even a manifest")
    list_without_name(store, blob)
    assert collect(store, grace_seconds=0).removed == ()
    assert len(store.tags.entries()) == 1


def test_an_index_keeps_its_manifests(store: Store, build_artifact: Build) -> None:
    artifact = build_artifact()
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [{"mediaType": "m", "digest": str(artifact.digest), "size": artifact.size_bytes}],
    }
    index = store.put(canonical_json.encode(document))
    store.tags.set({"hello:all": Descriptor(index.digest, index.size_bytes, media_types.OCI_INDEX)})
    assert collect(store, grace_seconds=0).removed == ()


def test_soft_roots_stay_while_there_is_room_the_newest_first(store: Store) -> None:
    blobs = [store.put(bytes([number]) * 100) for number in range(5)]
    soft = [SoftRoot(blob.digest, last_used=number) for number, blob in enumerate(blobs)]
    assert collect(store, soft_roots=soft, grace_seconds=0).removed == ()
    result = collect(store, soft_roots=soft, budget_bytes=250, grace_seconds=0)
    assert digests(result.kept) == {blobs[3].digest, blobs[4].digest}
    assert result.kept_bytes == 200


def test_a_budget_never_takes_roots_and_counts_them(store: Store) -> None:
    root, soft = store.put(b"r" * 1000), store.put(b"s" * 10)
    result = collect(
        store, roots=[root.digest], soft_roots=[SoftRoot(soft.digest, 9.0)], budget_bytes=1005, grace_seconds=0
    )
    assert result.removed == (soft,)


def test_a_soft_manifest_stays_whole_or_goes(store: Store, build_artifact: Build) -> None:
    artifact = build_artifact()
    soft = [SoftRoot(artifact.digest, 1.0)]
    whole = sum(blob.size_bytes for blob in store.blobs())
    collect(store, soft_roots=soft, budget_bytes=whole, grace_seconds=0)
    assert verification.verify(store, artifact.digest).ok
    collect(store, soft_roots=soft, budget_bytes=whole - 1, grace_seconds=0)
    assert list(store.blobs()) == []


def test_leftovers_and_orphaned_folders_go(store: Store, build_artifact: Build) -> None:
    artifact = build_artifact()
    store.tags.set({"hello:latest": modelpack.tag_descriptor(artifact)})
    kept_folder = folder.model_folder(store, artifact.digest)
    gone_folder = folder.model_folder(store, build_artifact(LICENSE=b"other").digest)
    leftover = store.home.cache / "tmp" / "1-killed"
    leftover.write_bytes(b"half")
    fresh = store.home.cache / "tmp" / "2-fresh"
    fresh.write_bytes(b"half")
    os.utime(leftover, (time.time() - 7200,) * 2)
    for blob in store.blobs():
        os.utime(store.path(blob.digest), (time.time() - 7200,) * 2)
    result = collect(store)
    assert set(result.removed_folders) == {gone_folder, leftover}
    assert kept_folder.is_dir()
    assert fresh.exists()
    assert not gone_folder.exists()
    assert not leftover.exists()


def test_interrupted_fetches_and_unused_locks_go_after_a_week(store: Store) -> None:
    """Until then a pull may still be continued."""
    cache = store.home.cache
    old, recent = [
        [cache / folder / age for folder in ("partial", "quarantine", "locks/blobs", "locks/referrers")]
        for age in ("old", "recent")
    ]
    for path in (*old, *recent, cache / "locks" / "lease"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    for path, days in (*((path, 8) for path in old), *((path, 6) for path in recent)):
        os.utime(path, (time.time() - days * 24 * 3600,) * 2)
    os.utime(cache / "locks" / "lease", (0, 0))
    assert set(collect(store, grace_seconds=0).removed_folders) == set(old)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in (*recent, cache / "locks" / "lease"))


def test_damaged_and_hostile_blobs_do_not_stop_it(store: Store) -> None:
    deep = store.put(b'{"schemaVersion":2,"layers":' + b"[" * 100_000)
    odd = store.put(b'{"schemaVersion":2,"layers":[1,{"digest":"sha256:x"},{"digest":5}],"manifests":{},"config":[]}')
    cycle = store.put(b'{"schemaVersion":2}')
    store.path(cycle.digest).chmod(0o644)
    store.path(cycle.digest).write_bytes(b'{"schemaVersion":3}')
    assert digests(collect(store, grace_seconds=0).removed) == {deep.digest, odd.digest, cycle.digest}


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_damaged_tag_stops_it_before_its_layers_are_lost(store: Store, build_artifact: Build, damage: str) -> None:
    artifact = build_artifact()
    store.tags.set({"hello:latest": modelpack.tag_descriptor(artifact)})
    path = store.path(artifact.digest)
    path.chmod(0o644)
    path.unlink() if damage == "missing" else path.write_bytes(b"{}")
    before = digests(store.blobs())
    with pytest.raises(DamagedTag, match="hello:latest"):
        collect(store, grace_seconds=0)
    assert digests(store.blobs()) == before
    store.tags.remove("hello:latest")
    collect(store, grace_seconds=0)
    assert list(store.blobs()) == []


def test_it_waits_for_other_commands_and_says_so(store: Store) -> None:
    store.put(b"loose")
    messages: list[str] = []
    waiting, done = threading.Event(), threading.Event()

    def run() -> None:
        collect(store, grace_seconds=0, waiting=lambda message: (messages.append(message), waiting.set()))
        done.set()

    with leases.shared(store.home), leases.shared(store.home):
        collector = threading.Thread(target=run)
        collector.start()
        assert waiting.wait(30)
        assert not done.is_set()
        assert len(list(store.blobs())) == 1
    collector.join(30)
    assert done.is_set()
    assert list(store.blobs()) == []
    assert messages == ["waiting for other mlxbuild commands to finish"]


def test_commands_wait_for_a_collection(store: Store) -> None:
    messages: list[str] = []
    waiting, entered = threading.Event(), threading.Event()

    def command() -> None:
        with leases.shared(store.home, lambda message: (messages.append(message), waiting.set())):
            entered.set()

    with leases.exclusive(store.home):
        thread = threading.Thread(target=command)
        thread.start()
        assert waiting.wait(30)
        assert not entered.is_set()
    thread.join(30)
    assert entered.is_set()
    assert "garbage collection" in messages[0]


def test_a_crash_at_any_step_leaves_a_valid_store(
    store: Store, build_artifact: Build, crash_before: CrashBefore
) -> None:
    kept = build_artifact()
    store.tags.set({"hello:latest": modelpack.tag_descriptor(kept)})
    folder.model_folder(store, kept.digest)
    step = 0
    crashed = True
    while crashed:
        gone = build_artifact(LICENSE=b"other", **{"config.json": b"{}1"})
        put_referrer(store, gone, b"signature")
        folder.model_folder(store, gone.digest)
        crashed = crash_before(step, store.home.root, lambda: collect(store, grace_seconds=0))
        assert verification.verify(store, kept.digest).ok
        assert [name for name, _ in Store.open(store.home).tags.items()] == ["hello:latest"]
        if crashed and store.has(gone.digest):
            assert verification.verify(store, gone.digest).ok
        step += 1
    assert step > 15
    assert not store.has(gone.digest)
    assert digests(store.blobs()) == digests(collect(store, grace_seconds=0, dry_run=True).kept)
