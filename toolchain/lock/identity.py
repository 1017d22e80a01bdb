"""The identity of a source as named in a recipe, which decides whether a lock entry still applies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlxbuild.toolchain.core.lock import LockedSource
from mlxbuild.toolchain.spec.resolved import (
    ArtifactSource,
    ContentSource,
    FolderSource,
    HubSource,
    OllamaSource,
    Source,
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A source as named in the recipe, without paths of this machine."""

    kind: Literal["hub", "folder", "content", "artifact", "ollama"]
    name: str
    requested: str | None = None
    include: tuple[str, ...] = ()
    gguf: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.requested}" if self.requested else ""
        file = f"/{self.gguf}" if self.gguf else ""
        return f"`{self.name}{revision}{file}`"


def identity(source: Source) -> Identity:
    """The identity of a source in a recipe."""
    match source:
        case HubSource(repository, revision, include, gguf):
            return Identity("hub", repository, revision, tuple(include), gguf)
        case FolderSource(written=written, gguf=gguf):
            return Identity("folder", written, gguf=gguf)
        case ContentSource(content, gguf):
            return Identity("content", str(content), gguf=gguf)
        case ArtifactSource(reference):
            return Identity("artifact", str(reference))
        case OllamaSource(name):
            return Identity("ollama", str(name))


def locked_identity(source: LockedSource) -> Identity:
    """The identity that a locked source had in the recipe when it was locked."""
    named = None if source.kind == "ollama" else source.gguf
    return Identity(source.kind, source.identity, source.requested, source.include, named)
