"""Locked files of all kinds of sources: found, fetched, verified; once, and never from the network without need."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource
from mlxbuild.toolchain.core.lock_errors import StaleLock
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.sources.errors import Offline, SourceCorrupt, SourceMissing
from tests.hub_server import Fault, LocalHub
from tests.toolchain.sources.test_file_index import touch

_WEIGHTS = bytes(range(256)) * 4000
_FILES = {"config.json": b"{}", "tokenizer.json": _WEIGHTS}


def _locked(path: str, data: bytes) -> LockedFile:
    return LockedFile(path, Blob(Digest.of_bytes(data), len(data)))


def _hub_source(commit: str) -> LockedSource:
    files = tuple(_locked(path, data) for path, data in _FILES.items())
    return LockedSource("base", "hub", "acme/tiny", "main", commit, files, ())


_FILE = _locked("tokenizer.json", _WEIGHTS)


def _fetch(catalogue: SourceCatalogue, source: LockedSource, file: LockedFile = _FILE) -> Path:
    pieces: list[int] = []
    path = catalogue.fetch(source, file, pieces.append)
    assert sum(pieces) == file.blob.size_bytes
    assert catalogue.locate(source, file).read_bytes() == path.read_bytes()
    return path


def test_a_hub_file_is_downloaded_once_and_then_known(local_hub: LocalHub, store: Store, tmp_path: Path) -> None:
    source = _hub_source(local_hub.publish("acme/tiny", _FILES))
    catalogue = SourceCatalogue(tmp_path, store)
    assert not catalogue.present(source, _FILE)
    with pytest.raises(SourceMissing, match=str(_FILE.blob.digest)):
        catalogue.locate(source, _FILE)
    path = _fetch(catalogue, source)
    assert path.read_bytes() == _WEIGHTS
    requests = len(local_hub.requests)
    again = pickle.loads(pickle.dumps(catalogue))
    assert again.present(source, _FILE)
    assert _fetch(again, source) == path
    assert len(local_hub.requests) == requests


def test_the_clients_cache_is_used_without_the_network(
    local_hub: LocalHub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    from huggingface_hub import hf_hub_download

    hf_hub_download("acme/tiny", "tokenizer.json", revision=commit, endpoint=local_hub.endpoint,
                    cache_dir=tmp_path / "huggingface" / "hub")  # fmt: skip
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(local_hub.requests)
    source = _hub_source(commit)
    _fetch(SourceCatalogue(tmp_path, store), source)
    with pytest.raises(Offline):
        SourceCatalogue(tmp_path, store).fetch(source, _locked("config.json", b"{}"))
    assert len(local_hub.requests) == asked


def test_a_file_that_the_store_holds_is_not_downloaded(local_hub: LocalHub, store: Store, tmp_path: Path) -> None:
    source = _hub_source(local_hub.publish("acme/tiny", _FILES))
    blob = store.put(_WEIGHTS)
    assert _fetch(SourceCatalogue(tmp_path, store), source) == store.path(blob.digest)
    assert local_hub.requests == []


@pytest.mark.parametrize("damage", [b"x" * len(_WEIGHTS), b"short", None])
def test_a_damaged_copy_in_the_clients_cache_is_replaced(
    local_hub: LocalHub, store: Store, tmp_path: Path, damage: bytes | None
) -> None:
    source = _hub_source(local_hub.publish("acme/tiny", _FILES))
    path = _fetch(SourceCatalogue(tmp_path, store), source)
    if damage is None:
        path.resolve().unlink()
    else:
        path.resolve().write_bytes(damage)
    catalogue = SourceCatalogue(tmp_path, store)
    assert not catalogue.present(source, _FILE)
    assert _fetch(catalogue, source).read_bytes() == _WEIGHTS
    assert local_hub.count("blob") == 2


def test_wrong_bytes_once_are_fetched_again(local_hub: LocalHub, store: Store, tmp_path: Path) -> None:
    source = _hub_source(local_hub.publish("acme/tiny", _FILES))
    local_hub.faults.append(Fault("blob", method="GET", replace=bytes(len(_WEIGHTS)), times=1))
    assert _fetch(SourceCatalogue(tmp_path, store), source).read_bytes() == _WEIGHTS


def test_wrong_bytes_for_good_are_a_matter_of_trust(local_hub: LocalHub, store: Store, tmp_path: Path) -> None:
    source = _hub_source(local_hub.publish("acme/tiny", _FILES))
    local_hub.faults.append(Fault("blob", method="GET", replace=bytes(len(_WEIGHTS))))
    catalogue = SourceCatalogue(tmp_path, store)
    with pytest.raises(SourceCorrupt) as caught:
        catalogue.fetch(source, _FILE)
    assert caught.value.exit_code == 10
    assert str(_FILE.blob.digest) in caught.value.message
    assert not catalogue.present(source, _FILE)
    assert local_hub.count("blob") == 2


def test_a_folder_file_is_read_in_place(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    place = tmp_path / "model" / "tokenizer.json"
    place.write_bytes(_WEIGHTS)
    source = LockedSource("base", "folder", "./model", None, None, (_FILE,), ())
    assert _fetch(SourceCatalogue(tmp_path, store), source).samefile(place)
    place.write_bytes(_WEIGHTS[::-1])
    with pytest.raises(StaleLock, match="not what the lock says") as caught:
        SourceCatalogue(tmp_path, store).fetch(source, _FILE)
    assert caught.value.exit_code == 7
    assert "mlxbuild lock" in str(caught.value.hint)
    place.unlink()
    with pytest.raises(StaleLock, match="gone"):
        SourceCatalogue(tmp_path, store).fetch(source, _FILE)
    with pytest.raises(SourceMissing):
        SourceCatalogue(tmp_path, store).locate(source, _FILE)


def test_a_folder_file_that_just_changed_is_hashed_by_the_next_build(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.json").write_bytes(_WEIGHTS)
    source = LockedSource("base", "folder", ".", None, None, (_FILE,), ())
    catalogue = SourceCatalogue(tmp_path, store)
    _fetch(catalogue, source)
    assert not catalogue.present(source, _FILE)
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60_000_000_000)
    _fetch(SourceCatalogue(tmp_path, store), source)
    assert catalogue.present(source, _FILE)


def test_a_file_that_is_touched_between_fetching_and_reading_is_found(store: Store, tmp_path: Path) -> None:
    place = tmp_path / "tokenizer.json"
    place.write_bytes(_WEIGHTS)
    source = LockedSource("base", "folder", ".", None, None, (_FILE,), ())
    catalogue = SourceCatalogue(tmp_path, store)
    path = _fetch(catalogue, source)
    touch(place)
    assert catalogue.locate(source, _FILE) == path
    place.write_bytes(_WEIGHTS[::-1])
    with pytest.raises(SourceMissing):
        catalogue.locate(source, _FILE)


def test_an_artifact_file_is_a_blob_of_the_store(store: Store, tmp_path: Path) -> None:
    digest = Digest.of_bytes(b"manifest")
    source = LockedSource("base", "artifact", "hello:int4", None, str(digest), (_FILE,), ())
    with pytest.raises(SourceMissing, match="hello:int4"):
        SourceCatalogue(tmp_path, store).fetch(source, _FILE)
    path = store.path(store.put(_WEIGHTS).digest)
    assert _fetch(SourceCatalogue(tmp_path, store), source) == path
    path.chmod(0o644)
    path.write_bytes(bytes(len(_WEIGHTS)))
    with pytest.raises(SourceCorrupt, match="damaged in the store"):
        SourceCatalogue(tmp_path, store).fetch(source, _FILE)


_CHILD = """
import sys
from pathlib import Path
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
folder, commit, digest, size = sys.argv[1:]
file = LockedFile("tokenizer.json", Blob(Digest.parse(digest), int(size)))
source = LockedSource("base", "hub", "acme/tiny", "main", commit, (file,), ())
print(SourceCatalogue(Path(folder), Store.open(Home(Path(folder) / "home"))).fetch(source, file))
"""


@pytest.mark.usefixtures("store")
def test_two_processes_download_a_file_once(local_hub: LocalHub, tmp_path: Path) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    local_hub.faults.append(Fault("blob", method="GET", seconds=0.5))
    arguments = [str(tmp_path), commit, str(_FILE.blob.digest), str(_FILE.blob.size_bytes)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    children = [
        subprocess.Popen([sys.executable, "-c", _CHILD, *arguments], stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(2)
    ]
    paths = {child.communicate()[0].strip() for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert [Path(path).read_bytes() for path in paths] == [_WEIGHTS]
    assert local_hub.count("blob", "GET") == 1


def test_of_equal_bytes_the_own_place_is_named(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60_000_000_000)
    source = LockedSource("base", "folder", "./model", None, None, (_FILE,), ())
    for project in ("a", "b", "c"):
        (tmp_path / project / "model").mkdir(parents=True)
        (tmp_path / project / "model" / "tokenizer.json").write_bytes(_WEIGHTS)
        assert not SourceCatalogue(tmp_path / project, store).present(source, _FILE)
        _fetch(SourceCatalogue(tmp_path / project, store), source)
    for project in ("c", "a", "b"):
        catalogue = SourceCatalogue(tmp_path / project, store)
        place = tmp_path / project / "model" / "tokenizer.json"
        assert catalogue.present(source, _FILE)
        assert catalogue.fetch(source, _FILE) == catalogue.locate(source, _FILE) == place
    place.unlink()
    assert catalogue.fetch(source, _FILE) != place, "what is known to be the same elsewhere is as good"


def test_looking_for_files_does_not_load_the_hub_client(tmp_path: Path, home: Home, store: Store) -> None:
    (tmp_path / "tokenizer.json").write_bytes(_WEIGHTS)
    snapshot = tmp_path / "hf" / "hub" / "models--acme--tiny" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_bytes(_WEIGHTS)
    code = _CHILD.replace("print(", "path = (") + (
        "import mlxbuild.toolchain.lock.judge, mlxbuild.toolchain.lock.make\n"
        "assert SourceCatalogue(Path(folder), Store.open(Home(Path(folder) / 'home'))).present(source, file)\n"
        "assert not {'huggingface_hub', 'mlx', 'requests', 'httpx', 'httpx2'} & set(sys.modules), sys.modules.keys()\n"
        "print(path)\n"
    )
    arguments = [str(tmp_path), "0" * 40, str(_FILE.blob.digest), str(_FILE.blob.size_bytes)]
    environment = {
        **os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_CACHE": ""
    }  # fmt: skip
    found = subprocess.check_output([sys.executable, "-c", code, *arguments], env=environment, text=True)
    assert Path(found.strip()) == snapshot / "tokenizer.json"
    assert (home.cache / "files.sqlite").exists()
    assert store.home == home
