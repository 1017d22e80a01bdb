"""Refuses a recipe whose base has links to elsewhere. Paths that lead elsewhere are refused where recipes are read."""

from __future__ import annotations

from mlxbuild.toolchain.sources.folder import folder_files, resolve_inside
from mlxbuild.toolchain.sources.gguf.split import split_paths
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import FolderSource


def require_portable(recipe: Recipe) -> None:
    """Do nothing if no file of a local base is a link that leads out of its folder.

    Raises:
        UnsafePath: one is.
        SourceMissing, PickledWeights, SourceIncomplete: as `folder_files`.
    """
    for base in dict.fromkeys(spec.base for spec in recipe.variants()):
        if isinstance(base, FolderSource):
            for path in folder_files(base.path, role="base") if base.gguf is None else split_paths(base.gguf):
                resolve_inside(base.path, path)
