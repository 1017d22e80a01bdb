"""Builds Modelfiles, GGUF files and model folders as `ollama create` does: one artifact under one name, without a
recipe to keep."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlxbuild.cli.recipes import RecipeMissing
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.toolchain.interchange.draft import recipe_text
from mlxbuild.toolchain.interchange.errors import BadModelfile, NotImportable
from mlxbuild.toolchain.interchange.from_create import licenses_of, quantization_named
from mlxbuild.toolchain.interchange.from_modelfile import draft_from_modelfile, draft_from_weights
from mlxbuild.toolchain.interchange.recognition import ImportFormat, recognise
from mlxbuild.toolchain.spec.discovery import RECIPE_NAME, recipes_of
from mlxbuild.toolchain.spec.initial import slug
from mlxbuild.toolchain.weights.peft.source import ADAPTER_CONFIGURATION, ADAPTER_WEIGHTS, PEFT_WEIGHTS


def names_model(named: Sequence[Path] | None, files: Sequence[Path] | None) -> bool:
    """Whether `create NAME -f FILE` was written: one word that is no path, and a Modelfile, GGUF file or model folder.

    Raises:
        RecipeMissing: there is no such file.
        BadModelfile: the file is of no known kind.
    """
    if named is None or files is None or len(named) != 1 or len(files) != 1 or named[0].exists():
        return False
    (file,) = files
    if not file.exists():
        raise RecipeMissing(f"there is no file `{file}`", hint="-f names a Modelfile, a GGUF file or a model folder")
    if file.suffix in (".yaml", ".yml") or (file.is_dir() and recipes_of(file)):
        return False
    try:
        return recognise(file)[0] in (ImportFormat.MODELFILE, ImportFormat.GGUF, ImportFormat.FOLDER)
    except NotImportable as error:
        if file.is_dir():
            raise
        hint = "a Modelfile names its model as `FROM ./model.gguf`, a folder or a name"
        raise BadModelfile(f"{file} has no FROM line", hint=hint) from error


@contextmanager
def recipe_of(model: Path, name: Reference, store: Store, *, quantize: str | None = None) -> Iterator[Path]:
    """A recipe for a Modelfile, GGUF file or model folder, in a temporary folder that exists during the `with`
    statement.

    What cannot be converted is printed.

    Raises:
        BadModelfile: it is not valid, or there is no base for its FROM.
        NotCreatable: there is no such quantization.
        SeveralFiles: a folder holds several GGUF files.
    """
    form, model = recognise(model)
    if form is ImportFormat.MODELFILE:
        data = model.read_bytes()
        draft = draft_from_modelfile(data, model, in_store=lambda each: is_known(store, each), is_built=True)
    else:
        draft = draft_from_weights(model)
    if draft.base is None:
        message = "its FROM line cannot be built from" if form is ImportFormat.MODELFILE else "it cannot be built from"
        raise BadModelfile(message, where=str(model), hint=" ".join(draft.notes))
    for note in draft.notes:
        tell(f"warning: {note}")
    draft.quantization = quantization_named(quantize) or draft.quantization
    beside = model.absolute().parent
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
            _copy_adapter(beside / adapter["path"], target, model)
            adapter["path"] = target.name
        draft.license, licenses = licenses_of(draft.license_texts)
        for file, text in licenses.items():
            (folder / file).write_text(text, encoding="utf-8")
        recipe = folder / RECIPE_NAME
        recipe.write_text(recipe_text(draft), encoding="utf-8")
        yield recipe
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copy_adapter(source: Path, target: Path, modelfile: Path) -> None:
    """Copy the files of an adapter, and no others: it may lie in one folder with a model.

    Raises:
        BadModelfile: there is none.
    """
    files = [source / name for name in (ADAPTER_CONFIGURATION, ADAPTER_WEIGHTS, PEFT_WEIGHTS)]
    if not any(file.is_file() for file in files[1:]):
        message = f"there is no adapter in `{source}`"
        raise BadModelfile(message, where=str(modelfile), hint=f"it is {ADAPTER_WEIGHTS} or {PEFT_WEIGHTS} there")
    target.mkdir()
    for file in files:
        if file.is_file():
            shutil.copyfile(file, target / file.name)


def is_known(store: Store, name: str) -> bool:
    """Whether an artifact of that name is in the store."""
    try:
        store.tags.resolve(Reference.parse(name))
    except (InvalidReference, UnknownReference):
        return False
    return True


def _pinned(store: Store, name: str) -> str:
    reference = Reference.parse(name)
    return f"{reference.name}@{store.tags.resolve(reference)}"
