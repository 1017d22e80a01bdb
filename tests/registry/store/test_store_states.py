"""Random histories of a store, with crashes, damage and full disks, against a plain model of what it must hold."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mlxbuild.registry.artifact import modelpack
from mlxbuild.registry.artifact.files import ArtifactFile, FileRole
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.errors import BlobCorrupt, DiskFull
from mlxbuild.registry.store.gc import DamagedTag, collect
from mlxbuild.registry.store.layout import Store
from tests.disks import fill, small_disk

CrashBefore = Callable[[int, Path, Callable[[], object]], bool]

payloads = st.sampled_from([bytes([number]) * (number * 50 + 1) for number in range(8)])
tag_names = st.sampled_from(["a:latest", "a:x", "b:latest"])
steps = st.none() | st.integers(0, 25)
"""Before which effect on the disk the process dies; None lets it live."""


def unless_full(work: Callable[[], object]) -> None:
    with suppress(DiskFull):
        work()


def artifact_of(store: Store, contents: tuple[bytes, ...]) -> Blob:
    description = modelpack.ArtifactDescription("n", "1", "n", Digest.of_bytes(b"s"), Digest.of_bytes(b"l"))
    files = [ArtifactFile(f"f{number}", FileRole.DOC, store.put(data)) for number, data in enumerate(contents)]
    return modelpack.build(store, description, files)


def machine(crash_before: CrashBefore, disk: Path, *, fills: bool = False) -> type[RuleBasedStateMachine]:
    class Stores(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.root = Path(tempfile.mkdtemp(prefix="states-", dir=disk))
            self.ballast: Path | None = None
            """Fills the disk, if it is full."""
            self.store = Store.open(Home(self.root / "home"))
            self.sound: dict[Digest, bytes] = {}
            """Blobs that must read back."""
            self.damaged: dict[Digest, bytes] = {}
            """Blobs whose bytes were changed, by what they should be."""
            self.tags: dict[str, Digest] = {}
            self.needs: dict[Digest, frozenset[Digest]] = {}
            """What each artifact that was ever built reaches, itself included."""

        @initialize()
        def artifact_to_begin_with(self) -> None:
            self.build((b"one", b"two"), None)
            (manifest,) = self.needs
            descriptor = modelpack.tag_descriptor(Blob(manifest, self.store.size(manifest)))
            self.store.tags.set({"a:latest": descriptor, "b:latest": descriptor})
            self.tags = dict.fromkeys(["a:latest", "b:latest"], manifest)

        def run(self, step: int | None, work: Callable[[], object], *, removes: bool = False) -> bool:
            """Whether the work was done for sure, rather than cut off by a crash, or perhaps refused by a full disk."""
            sure = self.ballast is None or (removes and self.has_room_to_remove())
            attempt = work if sure else lambda: unless_full(work)
            if step is None:
                attempt()
                return sure
            done = not crash_before(step, self.root, attempt)
            self.store = Store.open(Home(self.root / "home"))
            return done and sure

        def has_room_to_remove(self) -> bool:
            """Processes that die leave unfinished writes behind, which can use up what was in reserve."""
            reserve = self.root / "home" / "cache" / "reserve"
            kept_bytes = reserve.stat().st_size if reserve.exists() else 0
            return shutil.disk_usage(disk).free + kept_bytes >= 16 * 1024

        def adopt(self, data: bytes) -> None:
            """What a put leaves: a sound blob, or a damaged one where it died before."""
            digest = Digest.of_bytes(data)
            if self.store.path(digest).read_bytes() == data:
                self.damaged.pop(digest, None)
                self.sound[digest] = data

        @rule(data=payloads, step=steps)
        def put(self, data: bytes, step: int | None) -> None:
            digest = Digest.of_bytes(data)
            done = self.run(step, lambda: self.store.put(data))
            if done:
                assert self.store.read(digest) == data
            if self.store.has(digest):
                self.adopt(data)

        @rule(contents=st.tuples(payloads, payloads) | st.tuples(payloads), step=steps)
        def build(self, contents: tuple[bytes, ...], step: int | None) -> None:
            with tempfile.TemporaryDirectory() as scratch:
                model = Store.open(Home(Path(scratch)))
                manifest = artifact_of(model, contents)
                wanted = {blob.digest: model.read(blob.digest) for blob in model.blobs()}
            done = self.run(step, lambda: artifact_of(self.store, contents))
            assert not done or all(self.store.has(digest) for digest in wanted)
            for digest, data in wanted.items():
                if self.store.has(digest):
                    self.adopt(data)
            self.needs[manifest.digest] = frozenset(wanted)

        def complete(self) -> list[Digest]:
            return sorted(
                manifest for manifest, needed in self.needs.items() if all(digest in self.sound for digest in needed)
            )

        @precondition(lambda self: self.complete())
        @rule(data=st.data(), names=st.sets(tag_names, min_size=1), step=steps)
        def tag(self, data: st.DataObject, names: set[str], step: int | None) -> None:
            manifest = data.draw(st.sampled_from(self.complete()))
            descriptor = modelpack.tag_descriptor(Blob(manifest, self.store.size(manifest)))
            before, after = dict(self.tags), {**self.tags, **dict.fromkeys(names, manifest)}
            done = self.run(step, lambda: self.store.tags.set(dict.fromkeys(names, descriptor)))
            self.tags = {name: descriptor.digest for name, descriptor in self.store.tags.items()}
            assert self.tags == after if done else self.tags in (before, after)

        @precondition(lambda self: self.tags)
        @rule(data=st.data(), step=steps)
        def untag(self, data: st.DataObject, step: int | None) -> None:
            name = data.draw(st.sampled_from(sorted(self.tags)))
            before = dict(self.tags)
            after = {other: digest for other, digest in before.items() if other != name}
            done = self.run(step, lambda: self.store.tags.remove(name), removes=True)
            self.tags = {name: descriptor.digest for name, descriptor in self.store.tags.items()}
            assert self.tags == after if done else self.tags in (before, after)

        @rule(step=steps)
        def collect_garbage(self, step: int | None) -> None:
            before = set(self.sound) | set(self.damaged)
            if any(digest not in self.sound for digest in self.tags.values()):
                with pytest.raises(DamagedTag):
                    collect(self.store, grace_seconds=0)
                return
            reached = {digest for manifest in self.tags.values() for digest in self.needs[manifest]} & before
            done = self.run(step, lambda: collect(self.store, grace_seconds=0), removes=True)
            left = {blob.digest for blob in self.store.blobs()}
            assert left == reached if done else reached <= left <= before
            self.sound = {digest: data for digest, data in self.sound.items() if digest in left}
            self.damaged = {digest: data for digest, data in self.damaged.items() if digest in left}

        @precondition(lambda self: self.sound)
        @rule(data=st.data(), shorten=st.booleans())
        def damage(self, data: st.DataObject, shorten: bool) -> None:
            digest = data.draw(st.sampled_from(sorted(self.sound)))
            right = self.sound.pop(digest)
            path = self.store.path(digest)
            path.chmod(0o644)
            path.write_bytes(right[:-1] if shorten else bytes([right[0] ^ 1]) + right[1:])
            self.damaged[digest] = right

        @precondition(lambda self: fills and self.ballast is None)
        @rule()
        def fill_the_disk(self) -> None:
            self.ballast = fill(disk)

        @precondition(lambda self: self.ballast is not None)
        @rule()
        def make_room(self) -> None:
            assert self.ballast is not None
            self.ballast.unlink()
            self.ballast = None

        @precondition(lambda self: self.damaged and self.ballast is None)
        @rule(data=st.data())
        def heal(self, data: st.DataObject) -> None:
            digest = data.draw(st.sampled_from(sorted(self.damaged)))
            right = self.damaged.pop(digest)
            with pytest.raises(BlobCorrupt):
                self.store.verify(digest)
            assert self.store.quarantine(digest).exists()
            self.store.put(right)
            self.sound[digest] = right

        @precondition(lambda self: self.sound)
        @rule(data=st.data())
        def delete(self, data: st.DataObject) -> None:
            digest = data.draw(st.sampled_from(sorted(self.sound)))
            self.store.path(digest).unlink()
            del self.sound[digest]

        @rule()
        def delete_the_cache(self) -> None:
            shutil.rmtree(self.root / "home" / "cache", ignore_errors=True)

        @invariant()
        def holds_exactly_what_the_model_holds(self) -> None:
            assert {blob.digest for blob in self.store.blobs()} == set(self.sound) | set(self.damaged)
            for digest, data in self.sound.items():
                assert self.store.read(digest) == data
                self.store.verify(digest)
            for digest in self.damaged:
                with pytest.raises(BlobCorrupt):
                    self.store.read(digest)
            assert {name: descriptor.digest for name, descriptor in self.store.tags.items()} == self.tags

        @invariant()
        def is_a_valid_image_layout(self) -> None:
            layout = self.root / "home" / "store"
            assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
            index = json.loads((layout / "index.json").read_bytes())
            assert index["schemaVersion"] == 2
            assert len(index["manifests"]) == len(self.tags)
            assert {path.name for path in layout.iterdir()} == {"oci-layout", "index.json", "blobs"}
            assert all(re.fullmatch("[0-9a-f]{64}", path.name) for path in (layout / "blobs" / "sha256").iterdir())

        def teardown(self) -> None:
            if self.ballast is not None:
                self.make_room()
            shutil.rmtree(self.root)

    return Stores


SETTINGS = settings(max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))


def test_any_history_with_crashes_and_damage(crash_before: CrashBefore, tmp_path: Path) -> None:
    run_state_machine_as_test(machine(crash_before, tmp_path), settings=SETTINGS)


def test_any_history_on_a_disk_that_fills(crash_before: CrashBefore, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        run_state_machine_as_test(machine(crash_before, disk, fills=True), settings=SETTINGS)


def test_a_crash_at_any_step_of_a_removal_on_a_full_disk(crash_before: CrashBefore, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        step, crashed = 0, True
        while crashed:
            store = Store.open(Home(disk / str(step)))
            artifact = artifact_of(store, (b"one", b"two"))
            store.tags.set(dict.fromkeys(["a:latest", "a:x"], modelpack.tag_descriptor(artifact)))
            ballast = fill(disk)
            crashed = crash_before(step, disk, lambda store=store: store.tags.remove("a:x"))  # type: ignore[misc]
            names = {name for name, _ in store.tags.items()}
            assert "a:latest" in names
            assert not ({"a:latest"} < names and not crashed)
            for name in sorted(names):
                store.tags.remove(name)
            assert len(collect(store, grace_seconds=0).removed) == 4
            ballast.unlink()
            shutil.rmtree(store.home.root)
            step += 1
        assert step > 5


def test_a_crash_at_any_step_of_making_a_store(tmp_path: Path, crash_before: CrashBefore) -> None:
    step, crashed = 0, True
    while crashed:
        home = Home(tmp_path / str(step))
        crashed = crash_before(step, tmp_path, lambda home=home: Store.open(home))  # type: ignore[misc]
        store = Store.open(home)
        assert store.tags.items() == []
        assert store.read(store.put(b"data").digest) == b"data"
        step += 1
    assert step > 5
