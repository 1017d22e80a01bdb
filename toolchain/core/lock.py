"""The data types of a lock.

A lock lists every source of a recipe with each of its files by size and sha256, and the tensor table that the
safetensors headers declare, so that the whole graph is known before a weight byte moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlxbuild.registry.core.digest import Blob, Digest


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file of a source, pinned by size and digest."""

    path: str
    """Relative path with `/` as separator."""
    blob: Blob
    derived: bool = False
    """Whether the file is not in the source, but derived from the headers of its weights and from its other files."""


@dataclass(frozen=True, slots=True)
class LockedTensor:
    """One row of the tensor table: the file and the byte range of a tensor."""

    name: str
    dtype: str
    """The dtype in the safetensors header (BF16, F32, U8, ...) or the type in the GGUF header (Q4_K, F32, ...)."""
    shape: tuple[int, ...]
    file: str
    """Path of a `LockedFile` of the same source."""
    begin: int
    """Absolute offset in the file, in bytes (past the header)."""
    size_bytes: int
    permuted_heads: int | None = None
    """For GGUF: the number of heads whose two halves of rows the converter interleaved; the build reverses it."""
    offset: float = 0.0
    """For GGUF: the number that the converter added to every element, which the build subtracts."""


@dataclass(frozen=True, slots=True)
class LockedSource:
    """One pinned source."""

    role: str
    """`base`, `tokenizer`, or `adapter.<n>`."""
    kind: Literal["hub", "folder", "content", "artifact", "ollama"]
    identity: str
    """The repository, the folder as written in the recipe, the digest of its content (in an artifact's lock), the
    artifact reference, or the name in Ollama's registry."""
    requested: str | None
    """The revision as written in the recipe, for Hub sources."""
    pinned: str | None
    """The commit of a Hub source, or the manifest digest of an artifact or an Ollama model; None for a folder and for
    content."""
    files: tuple[LockedFile, ...]
    """Sorted by path."""
    tensors: tuple[LockedTensor, ...]
    """Sorted by file, then by name."""
    include: tuple[str, ...] = ()
    """The include globs of a Hub source, as written in the recipe."""
    gguf: str | None = None
    """Path of the GGUF file with the model, or of its first part; None for safetensors. Tensors are named as in the
    model that is built from it."""
    header: Digest | None = None
    """Digest of the headers of the GGUF files, the only part of them that was read."""

    @property
    def derives_tokenizer(self) -> bool:
        """Whether the tokenizer is derived from the GGUF file, too."""
        return any(file.derived and file.path == "tokenizer.json" for file in self.files)

    def file(self, path: str) -> LockedFile | None:
        """The file with that path, or None."""
        return next((file for file in self.files if file.path == path), None)


@dataclass(frozen=True, slots=True)
class Lock:
    """All pinned sources of a recipe. A source shared by several variants is listed once per role and identity."""

    spec_digest: Digest
    """Digest of everything in the recipe that names a source."""
    sources: tuple[LockedSource, ...]
    """Sorted by role."""

    def source(self, role: str) -> LockedSource | None:
        """The source with that role, or None."""
        return next((source for source in self.sources if source.role == role), None)
