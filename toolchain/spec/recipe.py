"""A recipe without mistakes, as everything behind the spec room takes it. Reading one is done beside this."""

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
    """What besides the recipe's file decided how it was resolved."""

    fence: str
    """The real path of the folder that it may not leave."""
    texts: Mapping[str, str]
    """Path as written to the sha256 of the text file, in hex."""
    places: Mapping[str, str]
    """Path as written, of texts and folders, to the real path."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe without mistakes."""

    path: Path
    """Absolute."""
    name: str
    version: str
    _variants: tuple[ResolvedSpec, ...]
    reads: Reads = field(repr=False, compare=False)
    document: Document | None = field(repr=False, compare=False)
    """Where everything was written; None for a recipe that was remembered."""

    def variants(self) -> tuple[ResolvedSpec, ...]:
        """One resolved spec per point of the matrix, in an order that the layout of the file does not change."""
        return self._variants
