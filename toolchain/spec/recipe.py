"""A valid recipe, as the rest of the toolchain uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlxbuild.toolchain.spec.resolved import ResolvedSpec

if TYPE_CHECKING:
    from mlxbuild.toolchain.spec.document import Document


@dataclass(frozen=True, slots=True)
class Reads:
    """What a resolved recipe depends on besides its own file."""

    boundary: str
    """The real path of the folder that must hold all files it names."""
    texts: Mapping[str, str]
    """Path as written to the sha256 of the text file, in hexadecimal."""
    places: Mapping[str, str]
    """Path as written, of texts and folders, to the real path."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe without mistakes."""

    path: Path
    """Absolute path of the recipe."""
    name: str
    version: str
    _variants: tuple[ResolvedSpec, ...]
    reads: Reads = field(repr=False, compare=False)
    document: Document | None = field(repr=False, compare=False)
    """The parsed file with all locations; None for a recipe from the cache."""

    def variants(self) -> tuple[ResolvedSpec, ...]:
        """One resolved spec per point of the matrix, in an order that does not depend on the file's layout."""
        return self._variants
