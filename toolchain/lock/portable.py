"""Refuses a recipe whose local base contains links that lead out of its folder."""

from __future__ import annotations

from mlxbuild.toolchain.sources.folder import folder_files, resolve_inside
from mlxbuild.toolchain.sources.gguf.split import split_paths
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import FolderSource


def require_portable(recipe: Recipe) -> None:
    """Check that no file of a local base is a link that leads out of its folder.

    Raises:
        UnsafePath: a file is such a link.
        SourceMissing, PickledWeights, SourceIncomplete: as `folder_files`.
    """
    for base in dict.fromkeys(spec.base for spec in recipe.variants()):
        if isinstance(base, FolderSource):
            for path in folder_files(base.path, role="base") if base.gguf is None else split_paths(base.gguf):
                resolve_inside(base.path, path)
