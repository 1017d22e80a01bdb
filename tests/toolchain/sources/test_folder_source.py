"""Local folders: what is listed, and links that lead out."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxbuild.registry.artifact.files import UnsafePath
from mlxbuild.toolchain.sources.errors import SourceMissing
from mlxbuild.toolchain.sources.folder import folder_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "additional_chat_templates").mkdir(parents=True)
    (folder / "original").mkdir()
    for path in (
        "config.json",
        "model.safetensors",
        ".hidden.json",
        "additional_chat_templates/rag.jinja",
        "original/model.safetensors",
    ):
        (folder / path).write_bytes(b"x")
    return folder


def test_a_folder_is_listed_by_its_top_level(folder: Path) -> None:
    assert folder_files(folder, role="base") == (
        "additional_chat_templates/rag.jinja",
        "config.json",
        "model.safetensors",
    )


def test_include_may_name_a_subfolder(folder: Path) -> None:
    assert folder_files(folder, role="base", include=("config.json", "orig*/*.safetensors")) == (
        "config.json",
        "original/model.safetensors",
    )


def test_a_link_that_leads_out_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (folder / "tokenizer.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(UnsafePath) as caught:
        folder_files(folder, role="tokenizer")
    assert "`tokenizer.json`" in caught.value.message
    assert "hf_repo" in str(caught.value.hint)
    assert "tokenizer.json" in folder_files(folder, role="base"), "the links of a base lead where they like"


def test_a_link_within_the_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").symlink_to("config.json")
    (tmp_path / "alias").symlink_to(folder)
    assert "tokenizer.json" in folder_files(tmp_path / "alias", role="base")


def test_a_linked_subfolder_is_walked_in_a_base_alone(folder: Path, tmp_path: Path) -> None:
    (folder / "additional_chat_templates" / "rag.jinja").unlink()
    (folder / "additional_chat_templates").rmdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.jinja").write_text("x")
    (folder / "additional_chat_templates").symlink_to(tmp_path / "outside")
    assert folder_files(folder, role="tokenizer") == ("config.json",)
    assert folder_files(folder, role="base") == (
        "additional_chat_templates/x.jinja",
        "config.json",
        "model.safetensors",
    )


@pytest.mark.parametrize("name", ["nowhere", "model/config.json"])
def test_a_folder_that_is_none_says_so(folder: Path, name: str) -> None:
    with pytest.raises(SourceMissing) as caught:
        folder_files(folder.parent / name, role="base")
    assert caught.value.where == str(folder.parent / name)
