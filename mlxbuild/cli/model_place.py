"""The location of a model for `init`: a folder on this machine, or a repository on the Hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlxbuild.cli.invocation import chosen_home
from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.sources.gguf.parts import Opener, OpenFile, local_file
from mlxbuild.toolchain.sources.hub import Hub
from mlxbuild.toolchain.sources.pointers import refuse_pointer
from mlxbuild.toolchain.spec.discovery import RECIPE_NAME
from mlxbuild.toolchain.spec.recipe_folder import RecipeFolder
from mlxbuild.toolchain.spec.resolved import FolderSource, HubSource

_ANSWER_SECONDS = 10.0
"""The limit for the Hub's first answer; whatever is asked after it has the usual ones."""


class NotAModel(UserError):
    """There is no model where one was expected."""

    code = "not-a-model"


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """The location of a model, and how to read its files."""

    source: FolderSource | HubSource
    names: Callable[[], Collection[str]]
    """Lists all files, including those in subfolders if the `base` of a recipe can name a GGUF file there."""
    read: Callable[[str], bytes | None]
    opener: Opener
    """Opens a file for reading ranges."""


def folder_place(path: Path) -> ModelPlace:
    """The place of a folder, with its path as a recipe in the current folder would write it."""
    recipe_folder = RecipeFolder(Path.cwd() / RECIPE_NAME)
    relative = os.path.relpath(path).replace(os.sep, "/")
    # A folder elsewhere keeps the path as given; any other gets a relative one, so the recipe can be moved with it.
    written = relative if not path.is_absolute() or not recipe_folder.is_elsewhere(relative) else str(path)

    def read(name: str) -> bytes | None:
        file = path / name
        refuse_pointer(file, name)
        return file.read_bytes() if file.is_file() else None

    return ModelPlace(
        FolderSource(path.absolute(), written),
        lambda: {each.name for each in path.iterdir() if each.is_file()},
        read,
        lambda name: local_file(path / name),
    )


def hub_place(repository: str, revision: str) -> ModelPlace:
    """The place of a Hub repository.

    Raises:
        NotAModel: the name is not a valid repository name.
        MlxbuildError: see `Hub.files`.
    """
    if repository.startswith((".", "/", "~")) or repository.count("/") != 1:
        raise NotAModel(
            f"there is no folder or file `{repository}`",
            hint="use a folder, a GGUF file, or a Hub repository as `organisation/name`",
        )
    hub = Hub.of(chosen_home())
    commit = hub.answering_within(_ANSWER_SECONDS).commit(repository, revision)
    files = {file.path: file for file in hub.files(repository, commit, recursive=True)}

    def read(name: str) -> bytes | None:
        return hub.download(repository, commit, name).read_bytes() if name in files else None

    @contextmanager
    def opener(name: str) -> Iterator[OpenFile]:
        if name not in files:
            raise NotAModel(f"`{repository}` has no file `{name}`", hint="all parts of a split file are needed")
        where = f"{repository}@{revision}/{name}"
        yield OpenFile(hub.reader(repository, commit, name), files[name].size_bytes, where)

    return ModelPlace(HubSource(repository, revision), files.keys, read, opener)
