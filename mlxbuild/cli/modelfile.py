"""Builds Ollama's Modelfiles as `ollama create` does: one artifact under one name, without a recipe to keep."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlxbuild.cli.recipes import foreign_format
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.toolchain.interchange.draft import recipe_text
from mlxbuild.toolchain.interchange.errors import BadModelfile
from mlxbuild.toolchain.interchange.from_modelfile import draft_from_modelfile
from mlxbuild.toolchain.interchange.recognition import ImportFormat
from mlxbuild.toolchain.spec.discovery import RECIPE_NAME
from mlxbuild.toolchain.spec.initial import slug


def names_modelfile(named: Sequence[Path] | None, files: Sequence[Path] | None) -> bool:
    """Whether `create NAME -f Modelfile` was written: one word that is no path, and one Modelfile."""
    if len(named or ()) != 1 or len(files or ()) != 1 or named is None or files is None or named[0].exists():
        return False
    return foreign_format(files[0]) is ImportFormat.MODELFILE


@contextmanager
def recipe_of(modelfile: Path, name: Reference, store: Store) -> Iterator[Path]:
    """A recipe for a Modelfile, in a temporary folder that exists during the `with` statement.

    What cannot be converted is printed.

    Raises:
        BadModelfile: it is not valid, or there is no base for its FROM.
    """
    draft = draft_from_modelfile(modelfile.read_bytes(), modelfile, in_store=lambda each: is_known(store, each))
    if draft.base is None:
        raise BadModelfile("its FROM line cannot be built from", where=str(modelfile), hint=" ".join(draft.notes))
    for note in draft.notes:
        tell(f"warning: {note}")
    beside = modelfile.absolute().parent
    work = store.home.cache / "work"
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="modelfile-", dir=work))
    try:
        draft.name = slug(name.repository.rpartition("/")[2])
        draft.base = {
            key: str((beside / value).resolve()) if key in ("path", "gguf") else value
            for key, value in draft.base.items()
        }
        if "from" in draft.base:  # by digest, as the new artifact may take over the name
            draft.base["from"] = _pinned(store, draft.base["from"])
        for number, adapter in enumerate(draft.adapters):
            target = folder / f"adapter-{number}"
            shutil.copytree(beside / adapter["path"], target)
            adapter["path"] = target.name
        recipe = folder / RECIPE_NAME
        recipe.write_text(recipe_text(draft), encoding="utf-8")
        yield recipe
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_known(store: Store, name: str) -> bool:
    """Whether an artifact of that name is in the store."""
    try:
        store.tags.resolve(Reference.parse(name))
    except (InvalidReference, UnknownReference):
        return False
    return True


def _pinned(store: Store, name: str) -> str:
    reference = Reference.parse(name)
    return f"{reference.repository}@{store.tags.resolve(reference)}"
