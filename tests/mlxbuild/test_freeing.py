"""`doctor` and `cache du` end with the command that frees the most space."""

from __future__ import annotations

import os
import re

import pytest

from tests.mlxbuild.conftest import CommandLine


@pytest.mark.parametrize("words", [("doctor",), ("cache", "du")])
def test_the_command_that_frees_the_most_is_named(mlxbuild: CommandLine, words: tuple[str, ...]) -> None:
    assert "frees" not in mlxbuild(*words).err
    mlxbuild.built()
    whole = sum(blob.size_bytes for blob in mlxbuild.store.blobs())
    junk = mlxbuild.store.put(os.urandom(2_500_000))
    os.utime(mlxbuild.store.path(junk.digest), (0, 0))  # older than what gc spares
    assert mlxbuild(*words).err == "`mlxbuild gc` frees 2.5 MB\n"
    assert mlxbuild("gc").code == 0
    told = mlxbuild(*words).err
    if whole < 1_000_000:
        assert told == ""


def test_the_largest_artifact_is_named_where_gc_frees_nothing(mlxbuild: CommandLine) -> None:
    mlxbuild.built()
    (mlxbuild.folder / "model" / "LICENSE").write_bytes(b"x" * 3_000_000)
    recipe = mlxbuild.folder / "ModelSpec.yaml"
    recipe.write_text(recipe.read_text().replace("name: tiny", "name: large").replace("[int4, none]", "[int4]"))
    assert mlxbuild("create").code == 0
    match = re.fullmatch(
        r"`mlxbuild rm --all-names (large:\S+)`, and then `mlxbuild gc`, frees (\S+) MB\n", mlxbuild("cache", "du").err
    )
    assert match is not None
    assert mlxbuild("rm", "--all-names", match[1], "--yes").code == 0
    freed = mlxbuild("gc", "--grace", "0").out
    assert float(match[2]) >= 3.0
    assert "MB" in freed
