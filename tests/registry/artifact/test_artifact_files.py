"""Paths of artifacts: what is refused, what collides, and the identity of a set of files."""

from __future__ import annotations

import hashlib
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.artifact.files import (
    ArtifactFile,
    FileRole,
    UnsafePath,
    collisions,
    in_order,
    set_digest,
    unsafe,
)
from mlxbuild.registry.core.digest import Blob, Digest

BLOB = Blob(Digest.of_bytes(b""), 0)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../up", "a/../../up", "a//b", "a/", "./a", "a/.", "..", "C:/x", "a\\b", "a\0b", "a\nb",
     "\ud800", "x" * 256, "/".join(["x" * 200] * 6)],
)  # fmt: skip
def test_refuses_paths_that_are_not_files_below_a_folder(path: str) -> None:
    with pytest.raises(UnsafePath) as caught:
        ArtifactFile(path, FileRole.DOC, BLOB)
    assert caught.value.exit_code == 10


def test_control_characters_are_those_that_unicode_calls_so() -> None:
    characters = [chr(code) for code in range(0x11000)]  # all that Unicode has of Cc and Cs, and more than that
    refused = {character for character in characters if unsafe(f"a{character}b") is not None}
    assert refused == {character for character in characters if unicodedata.category(character) in ("Cc", "Cs")} | set(
        "\\:"
    )


@pytest.mark.parametrize(
    "path", ["config.json", "mlxbuild/defaults.json", "a b/ü.txt", ".gitattributes", "..a", "LICENSE"]
)
def test_takes_plain_paths(path: str) -> None:
    assert ArtifactFile(path, FileRole.DOC, BLOB).path == path


@pytest.mark.parametrize(
    ("paths", "count"),
    [
        (["a", "b"], 0),
        (["a", "a"], 1),
        (["License", "LICENSE"], 1),
        (["straße", "STRASSE"], 1),
        (["caf\u00e9", "cafe\u0301"], 1),
        (["a", "a/b"], 1),
        (["A/b/c", "a"], 1),
        (["a/b", "a/c", "ab"], 0),
    ],
)
def test_finds_paths_that_are_one_file(paths: list[str], count: int) -> None:
    assert len(collisions(paths)) == count
    files = [ArtifactFile(path, FileRole.DOC, BLOB) for path in paths]
    if count:
        with pytest.raises(UnsafePath, match="one file"):
            in_order(files)
    else:
        assert len(in_order(files)) == len(paths)


@given(st.text(max_size=20) | st.text("ab./\\:\0", max_size=12))
def test_what_is_taken_stays_below_its_folder(path: str) -> None:
    if unsafe(path) is None:
        pure = PurePosixPath(path)
        assert not pure.is_absolute()
        assert ".." not in pure.parts
        assert pure.as_posix() == path


def test_order_is_weights_configuration_documents_each_by_path() -> None:
    files = [ArtifactFile(f"{name}{role}", role, BLOB) for name in "ba" for role in reversed(FileRole)]
    assert [file.path for file in in_order(files)] == ["aweight", "bweight", "aconfig", "bconfig", "adoc", "bdoc"]


def test_set_digest_is_what_sha256sum_writes(tmp_path: Path, real_tool: Callable[[str], str]) -> None:
    contents = {"b.txt": b"b", "a/c.txt": b"c", "A.txt": b""}
    files = []
    for path, data in contents.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
        files.append(ArtifactFile(path, FileRole.DOC, Blob(Digest.of_bytes(data), len(data))))
    listing = subprocess.run(
        [real_tool("sha256sum"), *sorted(contents)], cwd=tmp_path, check=True, capture_output=True
    ).stdout
    expected = hashlib.sha256(listing.removesuffix(b"\n")).hexdigest()
    assert set_digest(files) == set_digest(files[::-1]) == Digest("sha256", expected)
