"""Searches the repositories of registries, and lists the tags of one. Only manifests are fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact.manifest import InvalidManifest, Manifest
from mlxbuild.registry.artifact.media_types import OCI_INDEX
from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.oci.exchange.transfers import DEFAULT_JOBS
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.errors import ManifestTooLarge, ManifestUnknown, RepositoryUnknown, TransferCorrupt
from mlxbuild.registry.oci.remote.settings import Settings

_FOR_MACHINES = re.compile(r"(sha256|ac1)-[0-9a-f]{64}(\..+)?")
"""Tags for programs: fallback tags of referrers, and those of a remote cache."""


@dataclass(frozen=True, slots=True)
class FoundRepository:
    """A repository of a registry with its tags, except those for programs."""

    name: str
    """The repository as `host/repository`."""
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag of a repository and its manifest. `manifest` is None if it cannot be used; `problem` says why."""

    tag: str
    digest: Digest | None
    manifest: Manifest | None
    problem: str | None = None

    @property
    def size_bytes(self) -> int | None:
        """The total size of manifest, config and files, counting each distinct blob once."""
        if self.manifest is None:
            return None
        blobs = {self.manifest.blob, self.manifest.config.blob, *(layer.blob for layer in self.manifest.layers)}
        return sum(blob.size_bytes for blob in blobs)


def search(registry: str, word: str, *, settings: Settings, home: Home, limit: int) -> Iterator[FoundRepository]:
    """Yield the repositories of a registry whose path contains a word; in `word:tag`, tags have to contain the rest.

    Args:
        registry: `host[:port][/namespace]`; only repositories below the namespace are searched.

    Raises:
        InvalidReference: that is not a registry.
        RegistryFailure: the registry does not answer, or does not list its repositories.
    """
    anchor = _anchor(registry)
    namespace = anchor.repository.rpartition("/")[0]
    name, _, tag = word.lower().partition(":")
    count = 0
    with closing(Remote.open(anchor, settings, home)) as remote:
        for repository in remote.catalogue(f"{namespace}/" if namespace else ""):
            if name in repository and (tags := _tags(Reference(repository, host=anchor.host), tag, settings, home)):
                yield FoundRepository(f"{remote.host}/{repository}", tags)
                count += 1
                if count >= limit:
                    break


def list_tags(reference: Reference, *, settings: Settings, home: Home, jobs: int = DEFAULT_JOBS) -> tuple[Tagged, ...]:
    """The tags of a repository with their manifests, sorted by tag.

    Raises:
        RepositoryUnknown, RegistryFailure: there is no such repository, or the registry does not answer.
    """
    with closing(Remote.open(reference, settings, home)) as remote, cancellation.threads(jobs) as pool:
        return tuple(pool.map(lambda tag: _look(remote, tag), sorted(_plain(remote.tags()))))


def _tags(reference: Reference, wanted: str, settings: Settings, home: Home) -> tuple[str, ...]:
    with closing(Remote.open(reference, settings, home)) as remote:
        try:
            return tuple(sorted(tag for tag in _plain(remote.tags()) if wanted in tag.lower()))
        except RepositoryUnknown:  # catalogues still list repositories whose last tag was deleted
            return ()


def _plain(tags: Iterator[str]) -> Iterator[str]:
    return (tag for tag in tags if _FOR_MACHINES.fullmatch(tag) is None)


def _look(remote: Remote, tag: str) -> Tagged:
    try:
        raw = remote.get_manifest(tag)
    except (ManifestUnknown, ManifestTooLarge, TransferCorrupt) as error:
        return Tagged(tag, None, None, error.message)
    if raw.media_type == OCI_INDEX:
        return Tagged(tag, raw.digest, None, "an index of manifests")
    try:
        return Tagged(tag, raw.digest, manifests.parse(raw.data, raw.digest))
    except InvalidManifest as error:
        return Tagged(tag, raw.digest, None, error.message)


def _anchor(registry: str) -> Reference:
    """Any repository of the registry, as requests need one although the catalogue belongs to none."""
    reference = Reference.parse(f"{registry.rstrip('/')}/name")
    if reference.host is None:
        raise InvalidReference(
            f"`{registry}` is not a registry", hint="write host[:port][/namespace]; a host has a dot"
        )
    return reference
