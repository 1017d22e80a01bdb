"""What a recipe may name: its folder, or the git repository around it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mlxbuild.toolchain.spec.problems import Code
from mlxbuild.toolchain.spec.recipe_folder import LARGEST_TEXT_BYTES, PathRefused, RecipeFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "repository" / "recipes" / "hello").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "repository" / "shared.txt").write_text("shared")
    (tmp_path / "repository" / "recipes" / "hello" / "own.txt").write_text("own")
    return tmp_path / "repository"


def folder(root: Path) -> RecipeFolder:
    return RecipeFolder(root / "recipes" / "hello" / "ModelSpec.yaml")


def test_without_a_repository_the_folder_is_the_boundary(root: Path) -> None:
    assert folder(root).text("own.txt") == "own"
    assert folder(root).text("./sub/../own.txt") == "own"
    with pytest.raises(PathRefused, match="leads out of the recipe's folder") as caught:
        folder(root).text("../../shared.txt")
    assert caught.value.code is Code.PATH


def test_in_a_repository_its_root_is_the_boundary(root: Path) -> None:
    (root / ".git").mkdir()
    assert folder(root).text("../../shared.txt") == "shared"
    with pytest.raises(PathRefused, match="leads out of the recipe's repository"):
        folder(root).text("../../../secret.txt")


def test_a_worktree_has_a_git_file(root: Path) -> None:
    (root / ".git").write_text("gitdir: elsewhere")
    assert folder(root).text("../../shared.txt") == "shared"


@pytest.mark.parametrize("target", ["../../../secret.txt", "absolute", "chain"])
def test_links_that_lead_out_are_refused(root: Path, target: str) -> None:
    (root / ".git").mkdir()
    own = root / "recipes" / "hello"
    if target == "absolute":
        (own / "link.txt").symlink_to(root.parent / "secret.txt")
    elif target == "chain":
        (own / "first").symlink_to("../../..")
        (own / "link.txt").symlink_to("first/secret.txt")
    else:
        (own / "link.txt").symlink_to(target)
    with pytest.raises(PathRefused) as caught:
        folder(root).text("link.txt")
    assert "link that leads outside" in caught.value.note


def test_links_that_stay_inside_are_followed(root: Path) -> None:
    (root / "recipes" / "hello" / "link.txt").symlink_to("own.txt")
    assert folder(root).text("link.txt") == "own"


def test_a_recipe_reached_through_a_link_is_bounded_by_its_real_folder(root: Path) -> None:
    (root.parent / "shortcut").symlink_to(root / "recipes")
    assert RecipeFolder(root.parent / "shortcut" / "hello" / "ModelSpec.yaml").text("own.txt") == "own"


@pytest.mark.parametrize("written", ["/etc/passwd", "~/x", "C:\\x", "C:/x", "\\\\host\\x", "file:///x", "", "a\0b"])
def test_only_relative_paths(root: Path, written: str) -> None:
    with pytest.raises(PathRefused) as caught:
        folder(root).locate(written)
    assert caught.value.code is Code.PATH


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("../bse", "../base"),
        ("./../bse/", "./../base"),
        ("../bse/model", "../base/model"),
        ("../base/modle", "../base/model"),
        ("../bse/other", "../base"),
    ],
)
def test_a_path_that_is_not_there_is_answered_with_one_that_is(root: Path, written: str, meant: str) -> None:
    (root / ".git").mkdir()
    (root / "recipes" / "base" / "model").mkdir(parents=True)
    with pytest.raises(PathRefused) as caught:
        folder(root).folder(written)
    assert caught.value.hint == f"did you mean `{meant}`?"


def test_a_byte_order_mark_is_no_text(root: Path) -> None:
    own = root / "recipes" / "hello" / "marked.jinja"
    own.write_bytes(b"\xef\xbb\xbf{{ x }}")
    known = folder(root)
    assert known.text("marked.jinja") == "{{ x }}"
    assert known.reads().texts == {"marked.jinja": hashlib.sha256(own.read_bytes()).hexdigest()}


def test_texts_are_bounded_and_regular(root: Path) -> None:
    large = root / "recipes" / "hello" / "large.txt"
    with large.open("wb") as stream:
        stream.truncate(LARGEST_TEXT_BYTES + 1)
    with pytest.raises(PathRefused, match="larger than 4 MiB"):
        folder(root).text("large.txt")
    with pytest.raises(PathRefused, match="is not a file"):
        folder(root).text(".")
    with pytest.raises(PathRefused, match="is not there") as caught:
        folder(root).text("own.text")
    assert caught.value.hint == "did you mean `own.txt`?"


def test_texts_keep_their_bytes(root: Path) -> None:
    (root / "recipes" / "hello" / "crlf.txt").write_bytes(b"a\r\nb\n")
    assert folder(root).text("crlf.txt") == "a\r\nb\n"
