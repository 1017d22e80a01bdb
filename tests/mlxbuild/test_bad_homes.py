"""Homes that cannot be used: every command ends with one error, its place and what to do. Nothing is destroyed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.cli.program import run
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from tests import disks

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "hello")
COMMANDS = {
    "list": ["list"],
    "create": ["create", "-f", EXAMPLE, "--locked", "--no-gates"],
    "pull": ["pull", "127.0.0.1:9/nobody/hello:int4"],
    "serve": ["serve", "--port", "0"],
    "run": ["run", "hello", "Hi", "--embedded"],
    "rm": ["rm", "hello"],
    "gc": ["gc"],
    "doctor": ["doctor"],
    "add-key": ["config", "add-key", "me"],
    "keys": ["config", "keys"],
    "remove-key": ["config", "remove-key", "me"],
}


def _of_file(home: Home) -> None:
    home.root.write_text("mine")


def _link_to_nowhere(home: Home) -> None:
    home.root.symlink_to(home.root.parent / "gone" / "away")


def _blobs_of_file(home: Home) -> None:
    shutil.rmtree(home.store / "blobs")
    (home.store / "blobs").write_text("mine")


def _unreadable_index(home: Home) -> None:
    (home.store / "index.json").write_text("{")


def _lost_index(home: Home) -> None:
    (home.store / "index.json").unlink()


def _index_of_folder(home: Home) -> None:
    (home.store / "index.json").unlink()
    (home.store / "index.json").mkdir()


def _store_of_file(home: Home) -> None:
    shutil.rmtree(home.store)
    home.store.write_text("mine")


def _cache_of_file(home: Home) -> None:
    shutil.rmtree(home.cache)
    home.cache.write_text("mine")


def _models_of_file(home: Home) -> None:
    home.models.write_text("mine")


def _wrong_setting(home: Home) -> None:
    (home.root / "config.yaml").write_text("default_registery: ghcr.io/acme")


BROKEN: dict[Callable[[Home], None], str] = {
    _of_file: "",
    _link_to_nowhere: "",
    _blobs_of_file: "store/blobs",
    _unreadable_index: "store/index.json",
    _lost_index: "store/index.json",
    _index_of_folder: "store/index.json",
    _store_of_file: "store",
    _cache_of_file: "cache",
}
KEYS = {"add-key", "keys", "remove-key"}
WORKS = {
    _unreadable_index: KEYS | {"serve"},
    _lost_index: KEYS | {"serve"},
    _index_of_folder: KEYS | {"serve"},
    _cache_of_file: {"serve"},
}
"""A server begins with those: it answers health, and tells everybody who asks for a model. Keys are no names."""


def everything(place: Path) -> list[tuple[str, bytes]]:
    """What lies there, but for what a command may make anew."""
    found = [place] if place.is_file() or place.is_symlink() else sorted(place.rglob("*"))
    kept = [each for each in found if not each.is_dir() and not {"cache", "logs"} & {*each.relative_to(place).parts}]
    return [(str(each), str(each.readlink()).encode() if each.is_symlink() else each.read_bytes()) for each in kept]


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Home], None]], Home]:
    monkeypatch.setenv("MLXBUILD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLXBUILD_PORT", "9")

    def prepare(broken: Callable[[Home], None]) -> Home:
        home = Home(tmp_path / "home")
        if broken not in (_of_file, _link_to_nowhere):
            Store.open(home).put(b"a blob that is worth much")
        broken(home)
        return home

    return prepare


@pytest.mark.parametrize(
    ("broken", "command"),
    [
        pytest.param(broken, command, id=f"{broken.__name__.strip('_')}-{command}")
        for broken in BROKEN
        for command in COMMANDS
        if command not in WORKS.get(broken, ())
    ],
)
def test_a_home_that_cannot_be_used(
    prepared: Callable[[Callable[[Home], None]], Home],
    capsys: pytest.CaptureFixture[str],
    broken: Callable[[Home], None],
    command: str,
) -> None:
    home = prepared(broken)
    before = everything(home.root)
    code = run(COMMANDS[command])
    told = capsys.readouterr()
    assert code == 6
    told_where = told.out if command == "doctor" else told.err
    assert str(home.root / BROKEN[broken]) in told_where or command == "doctor"
    assert "hint: " in told_where
    assert ("BAD " in told_where) if command == "doctor" else told_where.count("error[") == 1
    assert "Traceback" not in told.err
    assert everything(home.root) == before


@pytest.mark.parametrize(
    ("broken", "place", "said"),
    [(_models_of_file, "models", "something else is in the place"), (_wrong_setting, "config.yaml", "did you mean")],
)
def test_the_doctor_tells_what_later_commands_would(
    prepared: Callable[[Callable[[Home], None]], Home],
    capsys: pytest.CaptureFixture[str],
    broken: Callable[[Home], None],
    place: str,
    said: str,
) -> None:
    home = prepared(broken)
    assert run(["doctor"]) == 6
    told = capsys.readouterr().out
    assert (told.count("BAD "), f"({home.root / place})" in told, said in told) == (1, True, True)


def test_a_home_on_a_read_only_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with disks.small_disk(tmp_path / "disk", "4m") as disk:
        home = Home(disk / "home")
        monkeypatch.setenv("MLXBUILD_HOME", str(home.root))
        Store.open(home).put(b"a blob that is worth much")
        disks.make_read_only(disk)
        before = everything(home.root)
        assert run(COMMANDS["list"]) == 0
        capsys.readouterr()
        for command in ("create", "pull", "gc", "doctor", "add-key"):
            assert run(COMMANDS[command]) == 6, command
            told = capsys.readouterr()
            assert "read-only" in (told.out + told.err).lower(), command
            assert "hint: " in told.out + told.err
        assert everything(home.root) == before
