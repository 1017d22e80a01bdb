"""One folder per mistake in tests/recipes: the recipe, and in expected.txt exactly what mlxbuild says about it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlxbuild.toolchain.spec.document import LARGEST_BYTES
from mlxbuild.toolchain.spec.errors import SpecError
from mlxbuild.toolchain.spec.load import lint, load
from mlxbuild.toolchain.spec.report import render

CORPUS = Path(__file__).parents[2] / "recipes"
MISTAKES = sorted(folder.name for folder in CORPUS.iterdir() if folder.is_dir())
ONLY_LINTED = {"gate-bad-json-schema", "gate-schema-looking-behind", "base-elsewhere"}


@pytest.fixture
def recipe(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe in a folder without a repository around it, seen from inside that folder."""
    shutil.copytree(CORPUS / request.param, tmp_path / "model", symlinks=True)
    monkeypatch.chdir(tmp_path / "model")
    path = Path("ModelSpec.yaml")
    if request.param == "huge":
        path.write_bytes(path.read_bytes() + b"#" * LARGEST_BYTES)
    return path


def said(name: str) -> str:
    return (CORPUS / name / "expected.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(("recipe", "name"), [(name, name) for name in MISTAKES], indirect=["recipe"], ids=MISTAKES)
def test_lint_says_exactly_this(recipe: Path, name: str) -> None:
    assert render(lint(recipe)) + "\n" == said(name)


@pytest.mark.parametrize(
    ("recipe", "name"),
    [(name, name) for name in MISTAKES if name not in ONLY_LINTED],
    indirect=["recipe"],
    ids=[name for name in MISTAKES if name not in ONLY_LINTED],
)
def test_load_refuses_with_the_same_words(recipe: Path, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(recipe)
    assert caught.value.exit_code == 2
    assert caught.value.diagnostics() + "\n" == said(name)


def test_each_code_is_seen() -> None:
    """But for those that need a folder that cannot be read, or a model with tensors."""
    from mlxbuild.toolchain.spec.problems import Code

    shown = "".join(said(name) for name in MISTAKES)
    assert {code for code in Code if f"[{code}]" not in shown} == {Code.FILE, Code.IDLE_OVERRIDE}
