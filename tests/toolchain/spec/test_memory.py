"""Remembered recipes: the same as read anew, and forgotten as soon as anything that they rest on changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.toolchain.spec import memory
from mlxbuild.toolchain.spec.errors import SpecError
from mlxbuild.toolchain.spec.load import load
from mlxbuild.toolchain.spec.memory import load_remembered

RECIPE = """\
name: kept
version: "1.0"
base: {path: model}
system_prompt: {file: system.md}
variants: {quantization: [int4, none]}
tests:
  - size: {max: 1GiB}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "recipe"
    (folder / "model").mkdir(parents=True)
    (folder / "system.md").write_text("Be brief.")
    (folder / "ModelSpec.yaml").write_text(RECIPE)
    return folder / "ModelSpec.yaml"


def is_remembered(recipe: Path, home: Home) -> bool:
    return load_remembered(recipe, home).document is None


def test_what_is_remembered_is_what_was_read(recipe: Path, home: Home) -> None:
    assert not is_remembered(recipe, home)
    remembered = load_remembered(recipe, home)
    assert remembered.document is None
    assert remembered == load(recipe)


CHANGES: dict[str, Callable[[Path], object]] = {
    "the recipe": lambda recipe: recipe.write_text(RECIPE.replace("1.0", "1.1")),
    "a text": lambda recipe: (recipe.parent / "system.md").write_text("Be long."),
    "another place": lambda recipe: (
        (recipe.parent / "model").rename(recipe.parent / "moved"),
        (recipe.parent / "model").symlink_to("moved"),
    ),
    "the boundary": lambda recipe: (recipe.parent.parent / ".git").mkdir(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_anything_makes_it_read_anew(recipe: Path, home: Home, change: str) -> None:
    load_remembered(recipe, home)
    CHANGES[change](recipe)
    assert load_remembered(recipe, home) == load(recipe)
    assert is_remembered(recipe, home)


def test_a_mistake_is_found_though_the_recipe_was_fine_before(recipe: Path, home: Home) -> None:
    load_remembered(recipe, home)
    (recipe.parent / "model").rmdir()
    with pytest.raises(SpecError, match="`model` is not there"):
        load_remembered(recipe, home)


def test_other_code_reads_anew(recipe: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    load_remembered(recipe, home)
    monkeypatch.setattr(memory, "_reader", lambda: "another")
    assert not is_remembered(recipe, home)


def test_code_is_told_apart_by_its_content(tmp_path: Path) -> None:
    for name, text in (("before", "a = 1"), ("after", "a = 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "code.py").write_text(text)
        os.utime(tmp_path / name / "code.py", (0, 0))  # as reproducible builds of packages set it
    assert memory._reader(tmp_path / "before") != memory._reader(tmp_path / "after")


def test_a_damaged_memory_is_none(recipe: Path, home: Home) -> None:
    load_remembered(recipe, home)
    (file,) = (home.cache / "recipes").iterdir()
    content = file.read_bytes()
    for cut in range(0, len(content), 37):
        file.write_bytes(content[:cut])
        assert load_remembered(recipe, home) == load(recipe)
    file.write_bytes(bytes(len(content)))  # what a power cut may leave
    assert load_remembered(recipe, home) == load(recipe)
