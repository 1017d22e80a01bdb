"""The interface that every step kind implements, and what a step has access to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.action import ActionRecord


class SourceFiles(Protocol):
    """Finds source files by digest, wherever they lie on this machine."""

    def locate(self, digest: Digest) -> Path:
        """A readable path of a file with that digest.

        Raises:
            SourceMissing: no file on this machine is known to have it.
        """


@dataclass(frozen=True, slots=True)
class StepContext:
    """Everything a step gets besides its record."""

    store: Store
    sources: SourceFiles
    progress: Callable[[int], None]
    """Called with the number of source bytes just processed."""
    checkpoint: Callable[[], None]
    """Raises `Cancelled` when the build is being stopped; call it between tensors."""


class Step(Protocol):
    """One kind of work. It is pure: outputs depend on the record alone."""

    kind: str
    implementation: int
    tools: tuple[str, ...]
    """Distributions whose version may change the output bytes, such as `mlx`."""

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """Do the work and return the stored blobs by output name.

        Raises:
            MlxbuildError: the step failed.
        """
