"""ModelSpec.lock as bytes: one form, read back whole, and nothing else accepted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.artifact.files import collisions, unsafe
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.toolchain.core.lock import Lock, LockedFile, LockedSource, LockedTensor
from mlxbuild.toolchain.core.lock_errors import DamagedLock, LockMissing
from mlxbuild.toolchain.lock import file as lock_file

_digests = st.binary(min_size=1, max_size=4).map(Digest.of_bytes)
_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="﻿\x85  "), max_size=20)
_paths = _texts.filter(lambda path: not unsafe(path))


@st.composite
def _sources(draw: st.DrawFn, role: str) -> LockedSource:
    kind = draw(st.sampled_from(["hub", "folder", "artifact"]))
    paths = draw(st.lists(_paths, max_size=5, unique=True).filter(lambda found: not collisions(found)))
    files = tuple(LockedFile(path, Blob(draw(_digests), draw(st.integers(10_000, 2**60)))) for path in sorted(paths))
    tensors = []
    for file in files:
        for name in sorted(draw(st.sets(_texts, max_size=4))):
            shape = tuple(draw(st.lists(st.integers(0, 7), max_size=4)))
            count = 1
            for length in shape:
                count *= length
            begin = draw(st.integers(0, 100))
            tensors.append(LockedTensor(name, "F16", shape, file.path, begin, 2 * count))
    pinned = {"hub": "0123456789" * 4, "folder": None, "artifact": str(draw(_digests))}[kind]
    requested = draw(st.none() | _texts)
    include = tuple(draw(st.lists(_texts, max_size=3)))
    return LockedSource(role, kind, draw(_texts), requested, pinned, files, tuple(tensors), include)


@st.composite
def _locks(draw: st.DrawFn) -> Lock:
    roles = sorted(draw(st.sets(st.sampled_from(["base", "base.1", "tokenizer", "adapter.0", "adapter.10"]))))
    return Lock(draw(_digests), tuple(draw(_sources(role)) for role in roles))


@given(_locks())
def test_a_lock_is_read_back_as_it_was_written(lock: Lock) -> None:
    data = lock_file.encode(lock)
    assert lock_file.decode(data, "x") == lock
    assert lock_file.encode(lock_file.decode(data, "x")) == data
    assert lock_file.decode(data.replace(b"\n", b"\r\n"), "x") == lock


@given(_locks())
def test_a_lock_is_yaml(lock: Lock) -> None:
    text = lock_file.encode(lock).decode()
    body = text.split("\n", 2)[2]
    assert yaml.load(text, Loader=yaml.CSafeLoader) == json.loads(body)


@given(_locks(), st.data())
def test_a_lock_that_was_cut_or_changed_is_refused(lock: Lock, data: st.DataObject) -> None:
    whole = lock_file.encode(lock)
    begin = whole.index(b"# checksum")
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DamagedLock):
        lock_file.decode(whole[:cut], "x")
    place = data.draw(st.integers(begin, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    changed = whole[:place] + bytes([byte]) + whole[place + 1 :]
    with pytest.raises(DamagedLock):
        lock_file.decode(changed, "x")


_EXAMPLE = Lock(
    Digest("sha256", "5" * 64),
    (
        LockedSource(
            "base",
            "hub",
            "acme/tiny",
            "main",
            "0" * 40,
            (
                LockedFile("config.json", Blob(Digest("sha256", "1" * 64), 12)),
                LockedFile("model.safetensors", Blob(Digest("sha256", "2" * 64), 1000)),
            ),
            (
                LockedTensor("embed", "BF16", (2, 3), "model.safetensors", 120, 12),
                LockedTensor("scalar", "F32", (), "model.safetensors", 132, 4),
            ),
        ),
        LockedSource("tokenizer", "folder", "./tokenizer", None, None, (), ()),
    ),
)


def test_a_lock_has_one_value_a_line() -> None:
    assert lock_file.encode(_EXAMPLE).decode().splitlines()[2:] == [
        "{",
        '  "lock_version": 1,',
        f'  "spec_digest": "sha256:{"5" * 64}",',
        '  "sources": [',
        "    {",
        '      "role": "base",',
        '      "kind": "hub",',
        '      "identity": "acme/tiny",',
        '      "requested": "main",',
        f'      "pinned": "{"0" * 40}",',
        '      "include": [],',
        '      "files": {',
        f'        "config.json": ["sha256:{"1" * 64}", 12],',
        f'        "model.safetensors": ["sha256:{"2" * 64}", 1000]',
        "      },",
        '      "tensors": {',
        '        "model.safetensors": {',
        '          "embed": ["BF16", [2, 3], 120, 12],',
        '          "scalar": ["F32", [], 132, 4]',
        "        }",
        "      }",
        "    },",
        "    {",
        '      "role": "tokenizer",',
        '      "kind": "folder",',
        '      "identity": "./tokenizer",',
        '      "requested": null,',
        '      "pinned": null,',
        '      "include": [],',
        '      "files": {},',
        '      "tensors": {}',
        "    }",
        "  ]",
        "}",
    ]
    assert lock_file.encode(_EXAMPLE).startswith(b"# Generated, do not edit; run `mlxbuild lock`.\n")
    assert lock_file.encode(_EXAMPLE).endswith(b"}\n")


def _resealed(change: tuple[str, str]) -> bytes:
    """The example with one text replaced everywhere and the checksum made to fit: what an attacker would write."""
    header, _, body = lock_file.encode(_EXAMPLE).decode().split("\n", 2)
    assert change[0] in body
    body = body.replace(*change)
    return f"{header}\n# checksum {Digest.of_bytes(body.encode())}\n{body}".encode()


@pytest.mark.parametrize(
    "change",
    [
        ('"lock_version": 1', '"lock_version": 2'),
        ('"lock_version": 1,', ""),
        ('"config.json"', '"../config.json"'),
        ('"config.json"', '"/etc/config.json"'),
        ('"config.json"', '"Model.safetensors"'),
        (f'"sha256:{"1" * 64}"', '"sha256:11"'),
        (f'"sha256:{"1" * 64}"', "null"),
        (f'"sha256:{"5" * 64}"', '"5"'),
        (", 12],", ", -1],"),
        (", 12],", ", 12.0],"),
        (", 12],", ", true],"),
        ("[2, 3]", "[2, 4]"),
        ("[2, 3]", "[-2, -3]"),
        ("[2, 3]", '["2", 3]'),
        ("120, 12]", "990, 12]"),
        ("120, 12]", "-1, 12]"),
        ('"BF16"', '"BF17"'),
        ('        "model.safetensors": {', '        "other.safetensors": {'),
        ('"role": "tokenizer"', '"role": "base"'),
        ('"role": "tokenizer"', '"role": "adapter"'),
        ('"role": "tokenizer"', '"role": 7'),
        ('"kind": "folder"', '"kind": "url"'),
        ('"kind": "folder"', '"kind": "hub"'),
        (f'"{"0" * 40}"', '"main"'),
        (f'"{"0" * 40}"', "null"),
        ('"include": []', '"include": [1]'),
        ('"include": []', '"include": null'),
        ('"requested": "main"', '"requested": 1'),
        ('"sources": [', '"sources": null, "x": ['),
        ("}\n", "}\n}"),
    ],
    ids=lambda change: re.sub(r"[^\w.-]+", "_", change[1])[:30],
)
def test_a_forged_lock_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(DamagedLock) as caught:
        lock_file.decode(_resealed(change), "ModelSpec.lock")
    assert caught.value.exit_code == 7
    assert caught.value.where == "ModelSpec.lock"
    assert "mlxbuild lock" in str(caught.value.hint)


def test_the_example_is_sound_before_it_is_forged() -> None:
    assert lock_file.decode(_resealed(("acme", "acme")), "x") == _EXAMPLE


def test_conflict_markers_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "ModelSpec.lock"
    lines = lock_file.encode(_EXAMPLE).decode().splitlines()
    lines[1:2] = ["<<<<<<< HEAD", lines[1], "=======", "# checksum other", ">>>>>>> branch"]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DamagedLock, match="conflict markers") as caught:
        lock_file.read(path)
    assert str(caught.value.where) == f"{path}:2"
    assert "mlxbuild lock" in str(caught.value.hint)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{}", b"sources: []\n", b"# a\n# checksum sha256:0\n{}"])
def test_another_file_in_its_place_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "ModelSpec.lock"
    path.write_bytes(data)
    with pytest.raises(DamagedLock):
        lock_file.read(path)


def test_a_missing_lock_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LockMissing) as caught:
        lock_file.read(lock_file.lock_path(tmp_path / "ModelSpec.yaml"))
    assert caught.value.exit_code == 7
    assert str(caught.value.where) == str(tmp_path / "ModelSpec.lock")


def test_a_lock_is_written_only_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "ModelSpec.lock"
    assert lock_file.write(path, _EXAMPLE) is True
    before = path.stat()
    assert lock_file.write(path, _EXAMPLE) is False
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert lock_file.read(path) == _EXAMPLE
    assert lock_file.lock_digest(_EXAMPLE) == Digest.of_bytes(path.read_bytes())
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ModelSpec.lock"
    path.mkdir()
    with pytest.raises(lock_file.LockUnwritable) as caught:
        lock_file.write(path, _EXAMPLE)
    assert caught.value.exit_code == 6
