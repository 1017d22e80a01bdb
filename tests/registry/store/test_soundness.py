"""That damaged blobs are found before they are used, sound ones read once, and damaged ones renewed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store import verified_blobs as soundness
from mlxbuild.registry.store.errors import BlobCorrupt, BlobMissing
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.verified_blobs import VerifiedBlobs


@pytest.fixture
def blob(store: Store, monkeypatch: pytest.MonkeyPatch) -> Digest:
    """One that was not written just now: its change time cannot be set to one that is long ago."""
    monkeypatch.setattr(soundness, "_SETTLED_NS", 50_000_000)
    digest = store.put(b"weights" * 1000).digest
    time.sleep(0.1)
    return digest


def flip(path: Path) -> None:
    """Change a bit, and leave size and modification time as they were."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[100] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def read_by(store: Store, digest: Digest) -> int:
    """How many bytes are hashed to find the blob sound."""
    pieces: list[None] = []
    VerifiedBlobs(store).require([digest, digest], lambda: pieces.append(None))
    return len(pieces)


def test_a_sound_blob_is_read_once_whoever_asks(store: Store, blob: Digest) -> None:
    assert read_by(store, blob) == 1
    assert read_by(store, blob) == 0
    store.path(blob).touch()
    assert read_by(store, blob) == 1


def test_a_flipped_bit_is_found_though_size_and_time_are_the_same(store: Store, blob: Digest) -> None:
    read_by(store, blob)
    flip(store.path(blob))
    with pytest.raises(BlobCorrupt):
        read_by(store, blob)
    store.quarantine(blob)
    with pytest.raises(BlobMissing):
        read_by(store, blob)


def test_what_was_written_just_now_is_read_again(store: Store) -> None:
    digest = store.put(b"new").digest
    assert [read_by(store, digest), read_by(store, digest)] == [1, 1]


@pytest.mark.parametrize("memory", [b"", b"[1]", b"[" * 100_000, b'{"x": 1}', b'{"HEX": "abc"}'])
def test_a_memory_that_is_damaged_is_none(store: Store, blob: Digest, memory: bytes) -> None:
    path = store.home.cache / "sound.json"
    path.write_bytes(memory.replace(b"HEX", blob.hex.encode()))
    assert [read_by(store, blob), read_by(store, blob)] == [1, 0]


def test_what_is_gone_is_forgotten(store: Store, blob: Digest) -> None:
    read_by(store, blob)
    store.remove(blob)
    other = store.put(b"other").digest
    time.sleep(0.1)
    read_by(store, other)
    assert blob.hex not in (store.home.cache / "sound.json").read_text()


@pytest.mark.parametrize("streamed", [True, False])
def test_a_damaged_blob_of_the_right_size_is_renewed_by_what_writes_it_again(store: Store, streamed: bool) -> None:
    content = b"weights" * 1000
    digest = store.put(content).digest
    flip(store.path(digest))
    if streamed:
        with store.writer() as writer:
            writer.write(content)
            writer.commit()
    else:
        store.put(content)
    assert store.read(digest) == content
