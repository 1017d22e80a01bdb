"""What a lock holds. Reading, writing, making and judging locks live beside it.

A lock lists every source of a recipe with each of its files by size and sha256, and the tensor table that the
safetensors headers declare, so that the whole graph is known before a weight byte moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlxbuild.registry.core.digest import Blob, Digest


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file of a source."""

    path: str
    """Relative, with `/`."""
    blob: Blob
    derived: bool = False
    """Whether no source holds it: it follows from the headers of the source's weights and from its other files."""


@dataclass(frozen=True, slots=True)
class LockedTensor:
    """One row of the tensor table: where its bytes lie in which file."""

    name: str
    dtype: str
    """As in the safetensors header: BF16, F32, U8, ...; as in the GGUF header: Q4_K, F32, ..."""
    shape: tuple[int, ...]
    file: str
    """Path of a `LockedFile` of the same source."""
    begin: int
    """Absolute offset in the file, in bytes (past the header)."""
    size_bytes: int
    permuted_heads: int | None = None
    """Of a GGUF file: of how many heads the two halves of rows are interleaved, to be undone."""
    offset: float = 0.0
    """Of a GGUF file: what was added to each number, to be subtracted."""


@dataclass(frozen=True, slots=True)
class LockedSource:
    """One source, pinned."""

    role: str
    """`base`, `tokenizer`, or `adapter.<n>`."""
    kind: Literal["hub", "folder", "content", "artifact", "ollama"]
    identity: str
    """Repository, folder as written in the recipe, digest of its content in an artifact's lock, reference, or name at
    Ollama's registry."""
    requested: str | None
    """The revision as written, for hub sources."""
    pinned: str | None
    """The commit of a hub source, the manifest digest of an artifact or of Ollama's model, None for a folder and
    for content."""
    files: tuple[LockedFile, ...]
    """By path."""
    tensors: tuple[LockedTensor, ...]
    """By file, then by name."""
    include: tuple[str, ...] = ()
    """The globs of a hub source, as written."""
    gguf: str | None = None
    """The GGUF file that the model is in, or the first of its parts; None for safetensors. Its tensors are named as in
    the model that they make."""
    header: Digest | None = None
    """Over the headers of its GGUF files, which is all that was read of them."""

    @property
    def derives_tokenizer(self) -> bool:
        """Whether the tokenizer follows from the GGUF file, too."""
        return any(file.derived and file.path == "tokenizer.json" for file in self.files)

    def file(self, path: str) -> LockedFile | None:
        """The file of that path, if the source has it."""
        return next((file for file in self.files if file.path == path), None)


@dataclass(frozen=True, slots=True)
class Lock:
    """All sources of a recipe. Two variants may share a source; it is listed once per role and identity."""

    spec_digest: Digest
    """Over everything in the recipe that names a source."""
    sources: tuple[LockedSource, ...]
    """By role."""

    def source(self, role: str) -> LockedSource | None:
        """The source of that role, if the lock has one."""
        return next((source for source in self.sources if source.role == role), None)
