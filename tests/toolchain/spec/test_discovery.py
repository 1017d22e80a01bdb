"""Which recipes a folder stands for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mlxbuild.toolchain.spec.discovery import recipes_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with five recipes, two of them in places that do not count."""
    for folder in ("b/two", "a/one", "c", ".hidden/three", "ignored/four"):
        place = tmp_path / folder
        place.mkdir(parents=True)
        (place / "ModelSpec.yaml").write_text("name: x")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "a")
    return tmp_path


def found(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in recipes_of(folder)]


def test_a_folder_stands_for_all_recipes_below_it_in_order(tree: Path) -> None:
    assert found(tree) == [f"{place}/ModelSpec.yaml" for place in ("a/one", "b/two", "c", "ignored/four")]


def test_a_recipe_of_its_own_comes_before_those_below(tree: Path) -> None:
    (tree / "ModelSpec.yaml").write_text("name: x")
    assert found(tree) == ["ModelSpec.yaml"]


def test_what_git_ignores_is_left_out(tree: Path) -> None:
    subprocess.run(["git", "init", "-q", tree], check=True)
    (tree / ".gitignore").write_text("ignored/\n/c/*.yaml\n")
    assert found(tree) == ["a/one/ModelSpec.yaml", "b/two/ModelSpec.yaml"]
    assert found(tree / "b") == ["two/ModelSpec.yaml"]


def test_without_git_all_are_found(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert len(found(tree)) == 4


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert found(tmp_path) == []
