"""`mlxbuild init`: writes a first recipe for a model folder, a GGUF file or a Hub repository."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.model_place import ModelPlace, NotAModel, folder_place, hub_place
from mlxbuild.cli.output import say
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.suggestions import did_you_mean
from mlxbuild.toolchain.interchange.from_gguf import recipe_from_gguf
from mlxbuild.toolchain.sources.gguf.choice import choose, models_among
from mlxbuild.toolchain.sources.gguf.parts import read_gguf_files
from mlxbuild.toolchain.sources.gguf.split import split_paths
from mlxbuild.toolchain.sources.selection import ADAPTER_HINT
from mlxbuild.toolchain.spec.discovery import RECIPE_NAME
from mlxbuild.toolchain.spec.initial import initial_recipe, slug

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class RecipeExists(UserError):
    """A recipe would overwrite a file."""

    code = "recipe-exists"


@app.command(cls=Command, epilog=("mlxbuild init Qwen/Qwen3-0.6B\nmlxbuild init ./model -o ModelSpec.yaml"))
def init(
    model: Annotated[
        str,
        typer.Argument(help="A model folder, a GGUF file, or a Hub repository such as `Qwen/Qwen3-0.6B`."),
    ],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of a Hub repository.")] = "main",
    name: Annotated[str | None, typer.Option(help="The recipe's name.")] = None,
    file: Annotated[str | None, typer.Option(help="The GGUF file to use from a folder or repository.")] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where to write it; `-` prints it. Default: ModelSpec.yaml on a terminal, otherwise stdout.",
        ),
    ] = None,
) -> None:
    """Write a recipe with explanatory comments. An existing file is never overwritten."""
    target = output or (RECIPE_NAME if sys.stdout.isatty() else "-")
    if target != "-":
        _require_absent(Path(target))
    text = recipe_for(model, revision=revision, name=name, file=file)
    if target == "-":
        say(text)
    else:
        _write(Path(target), text)


def recipe_for(model: str, *, revision: str = "main", name: str | None = None, file: str | None = None) -> str:
    """The text of a recipe for a model folder, a GGUF file or a Hub repository.

    Raises:
        NotAModel: there is no model of that name.
    """
    path = Path(model)
    if path.is_file() and file is None:
        place = folder_place(path.parent)
        file = path.name
    else:
        place = folder_place(path) if path.is_dir() else hub_place(model, revision)
    name = slug(name) if name else None
    file = file or _gguf_of(place, model)
    recipe = _from_gguf(place, file, model, name) if file else _from_files(place, model, name)
    return recipe.rstrip()


def _require_absent(target: Path) -> None:
    if target.exists():
        raise RecipeExists(f"there is a `{target}` already", hint="choose another file with `-o`, or print with `-o -`")


def _write(target: Path, text: str) -> None:
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(f"{text}\n")
    except FileExistsError:
        _require_absent(target)
        raise
    say(str(target))
    recipe = "" if target.name == RECIPE_NAME and target.parent == Path() else f" {target}"
    tell(f"next: look through it, then run `mlxbuild create{recipe}`")


def _gguf_of(place: ModelPlace, model: str) -> str | None:
    """The GGUF file to use if none is named: the only one, if there are no safetensors files."""
    names = place.names()
    if any(each.endswith(".safetensors") and "/" not in each for each in names):
        return None
    return choose(names, model)


def _from_gguf(place: ModelPlace, file: str, model: str, name: str | None) -> str:
    if not file.endswith(".gguf"):
        raise NotAModel(
            f"`{file}` is not a GGUF file by its name", hint="give it the ending .gguf, or name a model folder"
        )
    if file not in place.names():
        known = models_among(place.names())
        hint = did_you_mean(file, known) or f"its GGUF files: {', '.join(known[:8]) or 'none'}"
        raise NotAModel(f"`{model}` has no file `{file}`", hint=hint)
    files = read_gguf_files(split_paths(file), place.opener, model, tokenizer=True)
    return recipe_from_gguf(replace(place.source, gguf=file), files, name=name)


def _from_files(place: ModelPlace, model: str, name: str | None) -> str:
    read = place.read
    config = _json(read("config.json"))
    if not config:
        is_adapter = read("adapter_config.json") is not None
        hint = ADAPTER_HINT if is_adapter else "use a GGUF file, or a model in the Hugging Face layout"
        raise NotAModel(f"`{model}` has no config.json", hint=hint)
    tokenizer, generation = _json(read("tokenizer_config.json")), _json(read("generation_config.json"))
    if read("chat_template.jinja") is not None:
        tokenizer |= {"chat_template": "in a file of its own"}
    return initial_recipe(place.source, config, tokenizer_config=tokenizer, generation_config=generation, name=name)


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(content) if content else {}
    except ValueError as error:
        raise NotAModel(f"a configuration file of the model is not JSON: {error}") from error
    return value if isinstance(value, dict) else {}
