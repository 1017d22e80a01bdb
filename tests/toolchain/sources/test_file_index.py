"""What the index of verified files remembers, and what it does not believe."""

from __future__ import annotations

import os
import pickle
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.toolchain.sources.errors import FileIndexFailure, SourceChanging, SourceMissing
from mlxbuild.toolchain.sources.file_index import FileIndex


def _file(path: Path, data: bytes, *, age_seconds: float = 60) -> Path:
    path.write_bytes(data)
    changed = time.time() - age_seconds
    os.utime(path, (changed, changed))
    return path


def _blob(data: bytes) -> Blob:
    return Blob(Digest.of_bytes(data), len(data))


def touch(path: Path) -> None:
    """Change nothing of a file but its ctime, as a hard link does."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:  # until the file system's clock ticks
        path.chmod(path.stat().st_mode)


@pytest.fixture
def settled_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour has passed since the files of the test were made: their ctime cannot be set back."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3_600_000_000_000)


@pytest.mark.usefixtures("settled_clock")
def test_a_file_is_hashed_once(home: Home, tmp_path: Path) -> None:
    index, path = FileIndex(home), _file(tmp_path / "a", b"one")
    hashed: list[int] = []
    checks: list[int] = []
    assert index.known(path) is None
    assert index.content(path, progress=hashed.append, checkpoint=lambda: checks.append(1)) == _blob(b"one")
    assert (hashed, checks) == ([3], [1])
    assert FileIndex(home).content(path, checkpoint=lambda: checks.append(1)) == _blob(b"one")
    assert checks == [1]
    assert index.known(path) == _blob(b"one")
    assert list(index.paths(_blob(b"one").digest, settled=True)) == [path]
    index.content(path, again=True, checkpoint=lambda: checks.append(1))
    assert checks == [1, 1]


@pytest.mark.usefixtures("settled_clock")
@pytest.mark.parametrize("restore_times", [False, True])
def test_a_changed_file_is_not_known(home: Home, tmp_path: Path, restore_times: bool) -> None:
    index, path = FileIndex(home), _file(tmp_path / "a", b"one")
    before = index.content(path)
    status = path.stat()
    path.write_bytes(b"two")
    if restore_times:  # size and mtime as before: the ctime tells
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert index.known(path) is None
    assert list(index.paths(before.digest)) == []
    assert index.content(path) == _blob(b"two")


@pytest.mark.usefixtures("settled_clock")
def test_a_file_in_the_place_of_another_is_not_known(home: Home, tmp_path: Path) -> None:
    index, path = FileIndex(home), _file(tmp_path / "a", b"one")
    index.content(path)
    _file(tmp_path / "b", b"two").replace(path)
    assert index.known(path) is None
    path.unlink()
    assert index.known(path) is None


def test_a_file_that_changed_just_before_is_found_but_not_believed(home: Home, tmp_path: Path) -> None:
    index, path = FileIndex(home), _file(tmp_path / "a", b"one", age_seconds=0)
    blob = index.content(path)
    assert list(index.paths(blob.digest)) == [path]
    assert index.known(path) is None
    assert list(index.paths(blob.digest, settled=True)) == []
    assert index.content(path, immutable=True) == blob
    assert index.known(path) == blob


def test_a_file_written_to_while_it_is_read_is_refused(home: Home, tmp_path: Path) -> None:
    index, path = FileIndex(home), _file(tmp_path / "a", bytes(3 * 1024 * 1024))

    def write_once() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(SourceChanging):
        index.content(path, checkpoint=write_once)
    assert index.known(path) is None


def test_a_file_that_is_linked_while_it_is_read_is_read_again(home: Home, tmp_path: Path) -> None:
    data = bytes(3 * 1024 * 1024)
    index, path = FileIndex(home), _file(tmp_path / "a", data)
    counted: list[int] = []

    def link_once() -> None:
        if not (tmp_path / "link").exists():
            (tmp_path / "link").hardlink_to(path)
            touch(path)

    assert index.content(path, progress=counted.append, checkpoint=link_once) == _blob(data)
    assert sum(counted) == len(data)
    assert list(index.paths(_blob(data).digest)) == [path]


def test_a_file_that_is_touched_without_end_is_refused(home: Home, tmp_path: Path) -> None:
    index, path = FileIndex(home), _file(tmp_path / "a", b"one")
    with pytest.raises(SourceChanging):
        index.content(path, checkpoint=lambda: touch(path))


def test_a_missing_file_says_so(home: Home, tmp_path: Path) -> None:
    with pytest.raises(SourceMissing) as caught:
        FileIndex(home).content(tmp_path / "nothing")
    assert caught.value.where == str(tmp_path / "nothing")


@pytest.mark.usefixtures("settled_clock")
@pytest.mark.parametrize("damage", [b"not a database", b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_database_is_begun_anew(home: Home, tmp_path: Path, damage: bytes) -> None:
    path = _file(tmp_path / "a", b"one")
    home.cache.mkdir(parents=True)
    (home.cache / "files.sqlite").write_bytes(damage)
    index = FileIndex(home)
    assert index.content(path) == _blob(b"one")
    assert index.known(path) == _blob(b"one")
    index.close()
    with sqlite3.connect(home.cache / "files.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_cache_folder_that_cannot_be_made_is_an_environment_failure(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(FileIndexFailure) as caught:
        FileIndex(Home(tmp_path / "home")).content(_file(tmp_path / "a", b"one"))
    assert caught.value.exit_code == 6


@pytest.mark.usefixtures("settled_clock")
def test_many_threads_and_copies_share_it(home: Home, tmp_path: Path) -> None:
    files = [_file(tmp_path / str(number), str(number).encode()) for number in range(40)]
    shared = FileIndex(home)
    indices = [shared, shared, pickle.loads(pickle.dumps(shared)), FileIndex(home)]
    failures: list[BaseException] = []

    def hash_all(index: FileIndex) -> None:
        try:
            for path in files:
                assert index.content(path) == _blob(path.name.encode())
        except BaseException as error:  # noqa: BLE001  # shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=hash_all, args=(index,)) for index in indices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(shared.known(path) for path in files)
