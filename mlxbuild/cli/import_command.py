"""`mlxbuild import`: imports artifacts of archives and layouts; prints recipes for models, Modelfiles and Kitfiles."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.init_command import recipe_for
from mlxbuild.cli.modelfile import is_known
from mlxbuild.cli.output import say
from mlxbuild.cli.workspace import open_store, require_writable, tell
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.toolchain.interchange.from_kitfile import recipe_from_kitfile
from mlxbuild.toolchain.interchange.from_modelfile import recipe_from_modelfile
from mlxbuild.toolchain.interchange.from_ollama import recipe_from_ollama
from mlxbuild.toolchain.interchange.importing import Imported, import_archive, import_artifacts
from mlxbuild.toolchain.interchange.recognition import ImportFormat, recognise
from mlxbuild.toolchain.sources.ollama.registry import OllamaRegistry
from mlxbuild.toolchain.spec.ollama_name import OllamaName

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_OLLAMA = "ollama:"


class NameWithoutArtifact(UserError):
    """A name was given for something that is not an artifact."""

    code = "name-without-artifact"


@app.command(cls=Command, epilog=("mlxbuild import hello.tar\nmlxbuild import ./Modelfile > ModelSpec.yaml"))
def import_path(
    path: Annotated[
        Path,
        typer.Argument(help="An OCI archive or layout, model folder, GGUF file, Modelfile or Kitfile; `-`: stdin."),
    ],
    name: Annotated[str | None, typer.Option("--name", help="The name of the artifact, if there is only one.")] = None,
) -> None:
    """Import the artifacts of an OCI archive or layout into the store; for anything else, print a recipe.

    Artifacts that fail verification, or that the trust policy refuses, are not kept. A recipe goes to stdout:
    `mlxbuild import ./Modelfile > ModelSpec.yaml`.
    """
    if str(path).startswith(_OLLAMA):
        _from_ollama(str(path).removeprefix(_OLLAMA), name)
        return
    form, place = (ImportFormat.ARCHIVE, path) if str(path) == "-" else recognise(path)
    if form in (ImportFormat.ARCHIVE, ImportFormat.LAYOUT):
        _import(place, name)
    elif name is not None:
        raise _without_artifact(f"a {form}")
    elif form in (ImportFormat.FOLDER, ImportFormat.GGUF):
        say(recipe_for(str(place)))
        tell("save this here as ModelSpec.yaml, then run `mlxbuild lint` and `mlxbuild create`")
    else:
        _convert(form, place)


def _without_artifact(what: str) -> NameWithoutArtifact:
    return NameWithoutArtifact(f"{what} becomes a recipe, which contains its own name", hint="leave --name out")


def _from_ollama(written: str, name: str | None) -> None:
    if name is not None:
        raise _without_artifact("a model of Ollama's registry")
    with open_store() as store:
        text, notes = recipe_from_ollama(OllamaName.parse(written), OllamaRegistry(store))
    _print(text, notes, "here")


def _print(text: str, notes: tuple[str, ...], place: str) -> None:
    for note in notes:
        tell(f"note: {note}")
    say(text.rstrip("\n"))
    tell(f"save this {place} as ModelSpec.yaml, then run `mlxbuild lint` and `mlxbuild create`")


def _import(path: Path, name: str | None) -> None:
    with open_store() as store:
        require_writable(store)
        if str(path) == "-":
            imported = import_archive(store, sys.stdin.buffer, "stdin", name=name, tell=tell)
        else:
            imported = import_artifacts(store, path, name=name, tell=tell)
    for artifact in imported:
        also = f", {artifact.referrers} referrers" if artifact.referrers else ""
        say(f"{artifact.name} {artifact.digest} {format_bytes(artifact.size_bytes)}{also}")
        if artifact.replaced is not None:
            tell(f"note: {artifact.name} was {artifact.replaced} before")
        _explain(artifact)


def _explain(artifact: Imported) -> None:
    """Tell what an artifact made by another tool can be used for."""
    if artifact.has_facts:
        return
    if artifact.has_safetensors:
        tell(
            f"note: {artifact.name} was not built by mlxbuild: it has no defaults, and its stop tokens and other facts "
            f'are detected each time it is run. To keep them, build from it: `base: {{from: "{artifact.name}"}}`.'
        )
    else:
        tell(f"note: {artifact.name} holds no safetensors, so it can be stored and copied, but not run or built from.")


def _convert(form: ImportFormat, path: Path) -> None:
    if form is ImportFormat.KITFILE:
        text, notes = recipe_from_kitfile(path.read_bytes(), path)
    else:
        with open_store() as store:
            text, notes = recipe_from_modelfile(path.read_bytes(), path, in_store=lambda name: is_known(store, name))
    _print(text, notes, f"beside the {form}")
