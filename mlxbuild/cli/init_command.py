"""`mlxbuild init`: prints a first recipe for a model folder, a GGUF file or a Hub repository."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxbuild.cli.model_place import ModelPlace, NotAModel, folder_place, hub_place
from mlxbuild.cli.output import say
from mlxbuild.registry.core.suggestions import did_you_mean
from mlxbuild.toolchain.interchange.from_gguf import recipe_from_gguf
from mlxbuild.toolchain.sources.gguf.choice import choose, models_among
from mlxbuild.toolchain.sources.gguf.parts import read_gguf_files
from mlxbuild.toolchain.sources.gguf.split import split_paths
from mlxbuild.toolchain.sources.selection import ADAPTER_HINT
from mlxbuild.toolchain.spec.initial import initial_recipe, slug

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def init(
    model: Annotated[
        str,
        typer.Argument(help="A model folder, a GGUF file, or a Hub repository such as `Qwen/Qwen3-0.6B`."),
    ],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of a Hub repository.")] = "main",
    name: Annotated[str | None, typer.Option(help="The recipe's name.")] = None,
    file: Annotated[str | None, typer.Option(help="The GGUF file to use from a folder or repository.")] = None,
) -> None:
    """Print a recipe with explanatory comments: `mlxbuild init ./model > ModelSpec.yaml`."""
    path = Path(model)
    if path.is_file() and file is None:
        place = folder_place(path.parent)
        file = path.name
    else:
        place = folder_place(path) if path.is_dir() else hub_place(model, revision)
    name = slug(name) if name else None
    file = file or _gguf_of(place, model)
    recipe = _from_gguf(place, file, model, name) if file else _from_files(place, model, name)
    say(recipe.rstrip())


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
        hint = ADAPTER_HINT if is_adapter else "give a GGUF file, or a model in the Hugging Face layout"
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
