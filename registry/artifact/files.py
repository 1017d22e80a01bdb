"""The files of an artifact: their roles, safe paths and blobs, and the digest of a set of files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import TrustError

LONGEST_COMPONENT_BYTES = 255
LONGEST_PATH_BYTES = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters of the Unicode categories Cc (control) and Cs (surrogate)."""


class UnsafePath(TrustError):
    """A path of an artifact would leave its folder, or two paths would be the same file."""

    code = "unsafe-path"


class FileRole(StrEnum):
    """The role of a file, which decides the layer's media type and its position in the manifest."""

    WEIGHT = "weight"
    CONFIG = "config"
    DOC = "doc"

    @property
    def media_type(self) -> str:
        """The media type of a raw ModelPack layer of this role."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    FileRole.WEIGHT: media_types.WEIGHT,
    FileRole.CONFIG: media_types.WEIGHT_CONFIG,
    FileRole.DOC: media_types.DOC,
}
_ORDER = {role: position for position, role in enumerate(FileRole)}


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of an artifact.

    Raises:
        UnsafePath: the path is not a valid relative path on every system.
    """

    path: str
    """The relative path, with `/` as separator."""
    role: FileRole
    blob: Blob

    def __post_init__(self) -> None:
        if reason := unsafe(self.path):
            raise UnsafePath(f"`{self.path}` {reason}", hint="use a relative path of plain names")


def unsafe(path: str) -> str | None:
    """The reason why a path is refused, or None."""
    if not path:
        return "is empty"
    if path.startswith("/"):
        return "is absolute"
    if "\\" in path or ":" in path:
        return "holds a backslash or a colon, which some systems read as a drive or a folder"
    if _CONTROL.search(path):
        return "holds a control character"
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "goes up to a parent folder or has an empty part"
    if len(path.encode()) > LONGEST_PATH_BYTES or any(len(part.encode()) > LONGEST_COMPONENT_BYTES for part in parts):
        return "is too long"
    return None


def collisions(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of paths that collide if case and Unicode form are ignored: the same file, or a file and its folder."""
    seen: dict[str, str] = {}
    found = []
    for path in sorted(paths):
        folded = _folded(path)
        if folded in seen:
            found.append((seen[folded], path))
        else:
            seen[folded] = path
    for folded, path in seen.items():
        parts = folded.split("/")
        for depth in range(1, len(parts)):
            if (folder := seen.get("/".join(parts[:depth]))) is not None:
                found.append((folder, path))
    return found


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def in_order(files: Iterable[ArtifactFile]) -> tuple[ArtifactFile, ...]:
    """Sort files in the manifest's order: weights, configuration, documents, each by path.

    Raises:
        UnsafePath: two paths collide.
    """
    ordered = tuple(sorted(files, key=lambda file: (_ORDER[file.role], file.path)))
    for first, second in collisions(file.path for file in ordered):
        raise UnsafePath(f"`{first}` and `{second}` would be one file on some systems", hint="rename one of them")
    return ordered


def set_digest(files: Sequence[ArtifactFile]) -> Digest:
    """The digest of a set of files, independent of packaging: sha256 over lines `<sha256>  <path>` sorted by path.

    The lines are joined by newlines, with none at the end (Cog's weights specification, section 2.4).
    """
    lines = [f"{file.blob.digest.hex}  {file.path}" for file in sorted(files, key=lambda file: file.path)]
    return Digest.of_bytes("\n".join(lines).encode())
