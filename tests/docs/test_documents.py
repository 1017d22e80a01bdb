"""What the documents say holds: links lead somewhere, recipes are recipes, commands and Python names exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mlxbuild.cli.program import COMMANDS, LazyGroup, app
from mlxbuild.toolchain.spec.load import lint

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    Path(name)
    for name in subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    if not (ROOT / name).is_symlink()
)
_LINK = re.compile(r"\[[^\]\[]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REST = 'name: example\nversion: "1.0"\nbase: {path: model}\n'


def _blocks(document: Path) -> Iterator[tuple[str, str]]:
    for block in _BLOCK.finditer((ROOT / document).read_text(encoding="utf-8")):
        yield block[1].strip(), block[2]


def _recipes() -> Iterator[tuple[str, str, bool]]:
    """(document, text, whether it is a part of a recipe). A README's YAML blocks that name a model are recipes."""
    for document in DOCUMENTS:
        for information, text in _blocks(document):
            words = information.split()
            if words[:1] == ["yaml"] and ("ModelSpec" in words or "ModelSpec-part" in words or "hf_repo:" in text):
                yield str(document), text, "ModelSpec-part" in words


def _command_lines() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for information, text in _blocks(document):
            for line in text.splitlines() if information in ("sh", "console", "text", "yaml") else ():
                for part in re.split(r"&&|\|\|?|;", line.split(" #")[0]):
                    found = re.search(r"(?:^|run: |\$ )(mlxbuild [a-z].*)", part.strip())
                    if found and "[OPTIONS]" not in line:
                        yield str(document), found[1].strip()


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    text = _BLOCK.sub("", (ROOT / document).read_text(encoding="utf-8"))
    for target in _LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, heading = target.partition("#")
        place = (ROOT / document).parent / file if file else ROOT / document
        assert place.exists(), f"{document} links to {target}"
        if heading:
            headings = [_anchor(it) for it in _HEADING.findall(place.read_text(encoding="utf-8"))]
            assert heading in headings, f"{document} links to {target}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(("document", "text", "is_part"), list(_recipes()))
def test_recipes_in_documents_hold(document: str, text: str, is_part: bool, tmp_path: Path) -> None:
    for folder in ("model", "adapter"):
        (tmp_path / folder).mkdir()
    for file in ("evaluation.txt", "LICENSE.txt", "system.md", "chat.jinja", "model.gguf"):
        (tmp_path / file).write_text("text")
    rest = _REST if "\nbase:" not in f"\n{text}" else _REST.replace("base: {path: model}\n", "")
    recipe = tmp_path / "ModelSpec.yaml"
    recipe.write_text(rest + text if is_part else text)
    assert lint(recipe) == (), document


def test_documents_have_recipes_and_commands() -> None:
    assert {document for document, _, _ in _recipes()} >= {"README.md", "docs/modelspec.md"}
    assert {document for document, _ in _command_lines()} >= {"README.md", "docs/building.md", "recipes/README.md"}


@pytest.mark.parametrize(("document", "line"), sorted(set(_command_lines())))
def test_command_lines_in_documents_can_be_called(document: str, line: str) -> None:
    words = [word for word in _words(line) if word not in (">", "...")]
    command = words[1]
    assert command in COMMANDS, f"{document}: {line}"
    group: Any = typer.main.get_command(app)
    assert isinstance(group, LazyGroup)
    with group.make_context("mlxbuild", [command], resilient_parsing=True) as context:
        _, called, _ = group.resolve_command(context, [command])
    rest = words[2:]
    while hasattr(called, "commands"):
        called, rest = called.commands[rest[0]], rest[1:]
    known = {option for parameter in called.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word for word in rest if word.startswith("-") and word != "-" and word not in known}
    assert not unknown, f"{document}: {line}"


def _words(line: str) -> list[str]:
    """The words of a shell line, without what a shell would fill in or take away."""
    line = re.sub(r"\$\([^)]*\)|\[[^\]]*\]", "", line).partition(">")[0]
    return shlex.split(line)


def test_every_recipe_of_the_recipe_folder_is_fine() -> None:
    recipes = sorted((ROOT / "recipes").glob("*/*/ModelSpec.yaml"))
    assert len(recipes) >= 3
    for recipe in recipes:
        assert lint(recipe) == ()
        name = recipe.parent.name
        assert recipe.parent.parent.name == name[0]
        assert f"\nname: {name}\n" in recipe.read_text(encoding="utf-8")
        assert f"{name[0]}/{name}/ModelSpec.yaml" in (ROOT / "recipes/README.md").read_text(encoding="utf-8")
