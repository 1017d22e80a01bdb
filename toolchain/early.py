"""Finds mistakes in a recipe from its local folders alone, before anything is locked or hashed; `lint` reports them."""

from __future__ import annotations

import re
from dataclasses import replace

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import Location, MlxbuildError
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource, LockedTensor
from mlxbuild.toolchain.lock.settle import QuantizedBase, quantization_place, settle
from mlxbuild.toolchain.sources.folder import folder_files
from mlxbuild.toolchain.spec.problems import Code, Problem, Snippet
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import FolderSource
from mlxbuild.toolchain.weights.overrides import idle_overrides
from mlxbuild.toolchain.weights.safetensors import read_file_header

_UNHASHED = Digest("sha256", "0" * 64)


def early_problems(recipe: Recipe) -> tuple[Problem, ...]:
    """Quantization settings that do not fit a variant's base or its tensors; `lock` finds all other mistakes."""
    problems = []
    for spec in recipe.variants():
        if not isinstance(spec.base, FolderSource) or spec.base.gguf is not None:
            continue
        try:
            sketch = _sketch(spec.base)
            settled = settle(spec, sketch, recipe)
        except QuantizedBase as error:
            problems.append(_problem(error.message, error.where, error.hint, recipe))
        except MlxbuildError:
            continue
        else:
            place = quantization_place(spec, recipe)
            for idle in idle_overrides(settled, sketch):
                problem = _problem(idle.message, place, idle.hint, recipe)
                if idle.is_certain:
                    problems.append(replace(problem, code=Code.IDLE_OVERRIDE))
                else:
                    problems.append(replace(problem, level="warning"))
    return tuple(dict.fromkeys(problems))


def _sketch(base: FolderSource) -> LockedSource:
    """The source with its tensor table, but without the digests that a lock would hold."""
    files, tensors = [], []
    for path in folder_files(base.path, role="base"):
        place = base.path / path
        files.append(LockedFile(path, Blob(_UNHASHED, place.stat().st_size)))
        for tensor in read_file_header(place) if path.endswith(".safetensors") else ():
            tensors.append(LockedTensor(tensor.name, tensor.dtype, tensor.shape, path, tensor.begin, tensor.size_bytes))
    return LockedSource("base", "folder", base.written, None, None, tuple(files), tuple(tensors))


def _problem(message: str, where: Location | str | None, hint: str | None, recipe: Recipe) -> Problem:
    place = where if isinstance(where, Location) else Location(str(recipe.path))
    problem = Problem(Code.QUANTIZATION, message, place, hint)
    if place.line is None or recipe.document is None:
        return problem
    line, column = recipe.document.lines[place.line - 1], place.column or 1
    word = re.match(r"[\w.-]*", line[column - 1 :])
    return replace(problem, snippet=Snippet(line, column, len(word[0]) if word else 1))
