"""The port that every step kind implements. What a step may see is here; scheduling and caching are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.action import ActionRecord


class SourceFiles(Protocol):
    """Finds the bytes of a source file by content, wherever they lie on this machine."""

    def locate(self, digest: Digest) -> Path:
        """A readable path whose content has that digest.

        Raises:
            SourceMissing: nothing on this machine is known to hold it.
        """


@dataclass(frozen=True, slots=True)
class StepContext:
    """All that a step gets besides its record."""

    store: Store
    sources: SourceFiles
    progress: Callable[[int], None]
    """Called with the number of source bytes just dealt with."""
    checkpoint: Callable[[], None]
    """Raises `Cancelled` when the build is being stopped; call it between tensors."""


class Step(Protocol):
    """One kind of work. Pure: outputs depend on the record alone."""

    kind: str
    implementation: int
    tools: tuple[str, ...]
    """Distributions whose version may change the bytes, such as `mlx`."""

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """Do the work and return output name to stored blob.

        Raises:
            MlxbuildError: what failed, with the place.
        """
