"""Groups the names of artifacts for lists: one row for an artifact under one repository, the other names beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mlxbuild.registry.artifact.media_types import TITLE, VERSION
from mlxbuild.registry.artifact.versions import promises
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.reference import DEFAULT_TAG


@dataclass(frozen=True, slots=True)
class NamedArtifact:
    """An artifact with its names in one repository."""

    name: str
    """The name to show: with the variant if there is such a tag, else `latest`, else any."""
    digest: Digest
    aliases: tuple[str, ...]
    """The other names in the same repository, sorted."""


def grouped(
    tags: Iterable[tuple[str, Digest]], annotations: Callable[[Digest], Mapping[str, str]]
) -> tuple[NamedArtifact, ...]:
    """The artifacts of store names, in the order of the names shown.

    An artifact that has names in several repositories (`mlxbuild cp`) is listed once for each.

    Args:
        tags: Store names, `repository:tag`, with their digests.
        annotations: Returns the annotations of a manifest; an artifact for which it fails is named by its tags alone.
    """
    names: dict[tuple[str, Digest], list[str]] = {}
    for name, digest in tags:
        names.setdefault((name.rpartition(":")[0], digest), []).append(name)
    artifacts = []
    for (_, digest), known in names.items():
        shown = known[0] if len(known) == 1 else _preferred(known, digest, annotations)
        artifacts.append(NamedArtifact(shown, digest, tuple(sorted(name for name in known if name != shown))))
    return tuple(sorted(artifacts, key=lambda each: each.name))


def _preferred(names: Iterable[str], digest: Digest, annotations: Callable[[Digest], Mapping[str, str]]) -> str:
    try:
        known = annotations(digest)
    except MlxbuildError:
        known = {}
    variant = known.get(TITLE, "").partition(":")[2].partition("@")[0]
    version = known.get(VERSION)

    def rank(name: str) -> tuple[int, int, str]:
        tag = name.rpartition(":")[2]
        if tag == variant:
            return 0, 0, name
        kind = 3 if promises(tag, version) else 2 if tag == DEFAULT_TAG else 1
        return kind, len(tag), name

    return min(names, key=rank)
