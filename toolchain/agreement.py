"""Checks whether the recipe, the lock and the files of an artifact agree with each other."""

from __future__ import annotations

from collections.abc import Iterator

from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.lock.file import decode
from mlxbuild.toolchain.rebuild import LOCK_FILE, RECIPE_FILE
from mlxbuild.toolchain.steps.tokenizer import TOKENIZER_FILES

_CARRIED = ((RECIPE_FILE, media_types.SPEC_DIGEST), (LOCK_FILE, media_types.LOCK_DIGEST))


def is_built(artifact: Artifact) -> bool:
    """Whether an artifact says that it was built from a recipe, as those packed by other tools do not."""
    return any(artifact.file(path) is not None or name in artifact.annotations for path, name in _CARRIED)


def disagreements(artifact: Artifact) -> tuple[str, ...]:
    """Every way in which a built artifact contradicts itself, one sentence each.

    Raises:
        MlxbuildError: the artifact's recipe or lock cannot be read.
    """
    return tuple(_find(artifact))


def _find(artifact: Artifact) -> Iterator[str]:
    for path, annotation in _CARRIED:
        file = artifact.file(path)
        if file is None:
            yield f"it contains no {path}"
        elif artifact.annotations.get(annotation) != str(file.blob.digest):
            yield f"{path} is not the one that the annotation {annotation} names"
    recipe, lock_file = artifact.file(RECIPE_FILE), artifact.file(LOCK_FILE)
    if recipe is None or lock_file is None:
        return
    lock = decode(artifact.read(LOCK_FILE), LOCK_FILE)
    if lock.spec_digest != recipe.blob.digest:
        yield "the lock was made for another recipe"
    known: dict[str, set[Digest]] = {}
    for source in lock.sources:
        for locked in source.files:
            known.setdefault(locked.path, set()).add(locked.blob.digest)
    for name in TOKENIZER_FILES:
        copied = artifact.file(name)
        if copied is not None and copied.blob.digest not in known.get(name, set()):
            yield f"{name} is not the file that the lock names"
