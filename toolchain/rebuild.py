"""Proves that an artifact is reproducible: builds it again from its recipe and lock, and compares the digests."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import StepError, UserError
from mlxbuild.registry.store.temporary import temporary_store
from mlxbuild.toolchain.cache.history import History
from mlxbuild.toolchain.core.lock import LockedSource
from mlxbuild.toolchain.create import create
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.graph.compile import LockedVariant
from mlxbuild.toolchain.lock.file import decode
from mlxbuild.toolchain.options import BuildOptions
from mlxbuild.toolchain.prepare import pin
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.spec.canonical import BrokenSpec, from_canonical
from mlxbuild.toolchain.spec.errors import SpecError
from mlxbuild.toolchain.spec.recipe_folder import RecipeFolder
from mlxbuild.toolchain.spec.resolved import FolderSource, ResolvedSpec
from mlxbuild.toolchain.spec.sources import sources_of
from mlxbuild.toolchain.weights.safetensors import read_file_header

if TYPE_CHECKING:
    from mlxbuild.toolchain.sources.hub import Hub

RECIPE_FILE = "mlxbuild/ModelSpec.json"
LOCK_FILE = "mlxbuild/ModelSpec.lock"
_PIECE_BYTES = 1 << 20


class NotRebuildable(UserError):
    """An artifact lacks something that a rebuild needs."""

    code = "not-rebuildable"


class NotReproducible(StepError):
    """The same recipe and lock gave different bytes."""

    code = "not-reproducible"
    exit_code = 9


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two builds differ."""

    file: str
    tensor: str | None
    """For weights, the first tensor in the file whose bytes differ."""


def carried_spec(artifact: Artifact, recipe: Path) -> ResolvedSpec:
    """The resolved recipe that is stored in an artifact.

    Raises:
        NotRebuildable: the artifact has none.
    """
    if artifact.file(RECIPE_FILE) is None:
        raise NotRebuildable(
            "the artifact contains no recipe", hint="only artifacts that mlxbuild built can be rebuilt"
        )
    return from_canonical(json.loads(artifact.read(RECIPE_FILE)), recipe)


def has_gates(artifact: Artifact) -> bool:
    """Whether the recipe in an artifact has gates; False if it has no recipe, or one of another version of mlxbuild."""
    try:
        return bool(carried_spec(artifact, Path()).gates)
    except (NotRebuildable, BrokenSpec, ValueError):
        return False


def locked_variant(artifact: Artifact, recipe: Path, hub: Hub | None = None) -> LockedVariant:
    """The variant that an artifact was built from, from the recipe and lock that it stores.

    Args:
        artifact: The artifact.
        recipe: Path of its recipe on this machine, or of another recipe with the same folders: folder sources are
            relative to it, and sources that the artifact names by content are looked for in its folders.
        hub: By default the Hub configured by the environment.

    Raises:
        NotRebuildable: it has no recipe or no lock; or it was not built here and names files outside of the recipe's
            folder by path, as earlier versions did: artifacts from elsewhere must not read this machine's files.
        SpecError: `recipe` is needed to find files, has mistakes, and is not the one that the artifact was built from
            (whose base may have moved since).
    """
    spec = carried_spec(artifact, recipe)
    is_remembered = History(artifact.store.home).recipe_of(artifact.digest) == recipe
    if not is_remembered:
        _refuse_files_elsewhere(spec, recipe)
    if artifact.file(LOCK_FILE) is None:
        raise NotRebuildable("the artifact contains no lock")
    sources = decode(artifact.read(LOCK_FILE), LOCK_FILE).sources
    catalogue = SourceCatalogue(recipe.parent, artifact.store, hub)
    unknown = [source for source in sources if source.kind == "content" and not _known(catalogue, source)]
    if unknown and recipe.is_file():
        with suppress(SpecError) if is_remembered else nullcontext():
            catalogue = SourceCatalogue(recipe.parent, artifact.store, hub, _folders_of(recipe))
    return replace(pin(spec, sources, catalogue), is_carried=True)


def _known(catalogue: SourceCatalogue, source: LockedSource) -> bool:
    return all(catalogue.present(source, file) for file in source.files)


def _folders_of(recipe: Path) -> tuple[Path, ...]:
    """The folders that hold the sources of a recipe."""
    from mlxbuild.toolchain.spec.load import load  # imported only where it is needed

    return tuple(source.path for source in sources_of(load(recipe)).values() if isinstance(source, FolderSource))


def _refuse_files_elsewhere(spec: ResolvedSpec, recipe: Path) -> None:
    folder = RecipeFolder(recipe)
    for source in (spec.base, spec.tokenizer, *(adapter.source for adapter in spec.adapters)):
        if isinstance(source, FolderSource) and folder.is_elsewhere(source.as_written):
            raise NotRebuildable(
                f"its recipe names `{source.as_written}`, which is outside of the recipe's {folder.boundary_word}",
                where=str(recipe),
                hint="rebuild it where it was built",
            )


def base_perplexity(artifact: Artifact, recipe: Path, text: str) -> float:
    """The perplexity of a text for the unquantized base of an artifact, measured on this machine.

    Raises:
        MlxbuildError: the base is not on this machine and cannot be fetched, or it cannot be loaded.
    """
    from mlxbuild.toolchain.gates.perplexity import measure_perplexity

    variant = locked_variant(artifact, recipe)
    with tempfile.TemporaryDirectory(prefix="mlxbuild-base-") as place:
        for file in variant.base.files:
            link = Path(place) / file.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(variant.catalogue.fetch(variant.base, file).absolute())
        return measure_perplexity(Path(place), text)


def rebuild(artifact: Artifact, recipe: Path, stream: EventStream, *, run: str, hub: Hub | None = None) -> Digest:
    """Build an artifact again in an empty home, and compare the digests. Files that are not here come from the `hub`.

    Returns:
        The digest, which equals that of the artifact.

    Raises:
        NotReproducible: the digests differ; the error names the first tensor or file that differs.
        MlxbuildError: the build failed.
    """
    variant = locked_variant(artifact, recipe, hub)
    with temporary_store(artifact.store.home, "rebuild") as store:
        report = create(
            [variant], store, stream, run=run, command=("verify", "--rebuild"), options=BuildOptions(gates=False)
        )
        built = report.artifacts[0]
        if built.digest is None:
            raise report.errors[0]
        if built.digest != artifact.digest:
            raise _not_reproducible(artifact, Artifact.open(store, built.digest))
        return built.digest


def _not_reproducible(old: Artifact, new: Artifact) -> NotReproducible:
    difference = next(differences(old, new), None)
    if difference is None:
        what = "the manifests differ, and no file does"
    elif difference.tensor is None:
        what = f"the first file that differs is {difference.file}"
    else:
        what = f"the first tensor that differs is {difference.tensor}, in {difference.file}"
    return NotReproducible(
        f"the rebuild gave {new.digest}; {what}",
        where=str(old.digest),
        hint="compare `mlxbuild version` here with the machine that built it",
    )


def differences(old: Artifact, new: Artifact) -> Iterator[Difference]:
    """The differences between two artifacts, file by file."""
    before = {file.path: file.blob for file in old.files}
    after = {file.path: file.blob for file in new.files}
    for path in sorted(before.keys() | after.keys(), key=lambda path: (not path.endswith(".safetensors"), path)):
        if before.get(path) == after.get(path):
            continue
        tensor = None
        if path in before and path in after and path.endswith(".safetensors"):
            tensor = _first_tensor(old.store.path(before[path].digest), new.store.path(after[path].digest))
        yield Difference(path, tensor)


def _first_tensor(old: Path, new: Path) -> str | None:
    """The name of the first tensor that is missing, or differs in shape, dtype or bytes."""
    before = {tensor.name: tensor for tensor in read_file_header(old)}
    after = {tensor.name: tensor for tensor in read_file_header(new)}
    with old.open("rb") as one, new.open("rb") as other:
        for name in sorted(before.keys() | after.keys()):
            if name not in before or name not in after:
                return name
            a, b = before[name], after[name]
            if (a.dtype, a.shape, a.size_bytes) != (b.dtype, b.shape, b.size_bytes):
                return name
            one.seek(a.begin)
            other.seek(b.begin)
            if not _same(one, other, a.size_bytes):
                return name
    return None


def _same(one: BinaryIO, other: BinaryIO, size_bytes: int) -> bool:
    pieces = (min(_PIECE_BYTES, size_bytes - start) for start in range(0, size_bytes, _PIECE_BYTES))
    return all(one.read(piece) == other.read(piece) for piece in pieces)
