"""`mlxbuild init`: a first recipe for a model folder or a Hub repository."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxbuild.cli.output import say
from registry.errors import UserError
from toolchain.prepare import RECIPE_NAME
from toolchain.sources.hub import Hub
from toolchain.sources.pointers import refuse_pointer
from toolchain.sources.selection import ADAPTER_HINT
from toolchain.spec.initial import initial_recipe, slug
from toolchain.spec.recipe_folder import RecipeFolder
from toolchain.spec.resolved import FolderSource, HubSource

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class NotAModel(UserError):
    """There is no model where one was expected."""

    code = "not-a-model"


@app.command()
def init(
    model: Annotated[str, typer.Argument(help="A model folder, or a Hub repository such as `Qwen/Qwen3-0.6B`.")],
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of a Hub repository.")] = "main",
    name: Annotated[str | None, typer.Option(help="The recipe's name.")] = None,
) -> None:
    """Print a recipe with comments that teach: `mlxbuild init ./model > ModelSpec.yaml`."""
    base, read = _folder(Path(model)) if Path(model).is_dir() else _repository(model, revision)
    config = _json(read("config.json"))
    if not config:
        is_adapter = read("adapter_config.json") is not None
        hint = ADAPTER_HINT if is_adapter else "give a model in the Hugging Face layout"
        raise NotAModel(f"`{model}` has no config.json", hint=hint)
    tokenizer, generation = _json(read("tokenizer_config.json")), _json(read("generation_config.json"))
    if read("chat_template.jinja") is not None:
        tokenizer |= {"chat_template": "in a file of its own"}
    recipe = initial_recipe(
        base, config, tokenizer_config=tokenizer, generation_config=generation, name=slug(name) if name else None
    )
    say(recipe.rstrip())


_Reader = Callable[[str], bytes | None]


def _folder(path: Path) -> tuple[FolderSource, _Reader]:
    recipe_folder = RecipeFolder(Path.cwd() / RECIPE_NAME)
    relative = os.path.relpath(path).replace(os.sep, "/")
    # One that is elsewhere is named as it was given; any other so that the recipe can be moved with it.
    written = relative if not path.is_absolute() or not recipe_folder.is_elsewhere(relative) else str(path)

    def read(name: str) -> bytes | None:
        file = path / name
        refuse_pointer(file, name)
        return file.read_bytes() if file.is_file() else None

    return FolderSource(path.absolute(), written), read


def _repository(repository: str, revision: str) -> tuple[HubSource, _Reader]:
    if repository.startswith((".", "/", "~")) or repository.count("/") != 1:
        raise NotAModel(
            f"there is no folder `{repository}`", hint="give a folder, or a Hub repository as `organisation/name`"
        )
    hub = Hub()
    commit = hub.commit(repository, revision)
    names = {file.path for file in hub.files(repository, commit)}

    def read(name: str) -> bytes | None:
        return hub.download(repository, commit, name).read_bytes() if name in names else None

    return HubSource(repository, revision), read


def _json(content: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(content) if content else {}
    except ValueError as error:
        raise NotAModel(f"a configuration of the model is no JSON: {error}") from error
    return value if isinstance(value, dict) else {}
