"""Finds artifacts outside the store, which read-only commands get in a temporary store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlxbuild.cli.workspace import PathNamed, find, tell
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.registry.store.temporary import temporary_store


class SeveralArtifacts(UserError):
    """A path holds more than one artifact, and none was selected."""

    code = "several-artifacts"


@contextmanager
def find_anywhere(
    store: Store, name: str, *, offline: bool, evidence_alone: bool = False
) -> Iterator[tuple[Store, Digest]]:
    """Find an artifact and its digest: in the store; else in an OCI layout or archive, if the name is its path; else
    in the registry of the name, unless `offline`. With `evidence_alone`, none of its files are fetched.

    Raises:
        UnknownReference, InvalidReference: it was not found.
        SeveralArtifacts: a path holds more than one.
        MlxbuildError: it cannot be fetched or read, or does not verify.
    """
    try:
        digest = find(store, name)[1]
    except (UnknownReference, InvalidReference, PathNamed):
        path = Path(name)
        if not path.exists() and (offline or Reference.parse(name).host is None):
            raise
    else:
        yield store, digest
        return
    with temporary_store(store.home, "look") as visited:
        if path.exists():
            yield visited, _read(visited, path)
        else:
            yield visited, _fetch(visited, store.home, Reference.parse(name), evidence_alone=evidence_alone)


def _read(visited: Store, path: Path) -> Digest:
    from mlxbuild.toolchain.interchange.importing import import_artifacts

    imported = import_artifacts(visited, path, tell=tell)
    digests = {artifact.digest for artifact in imported}
    if len(digests) > 1:
        names = ", ".join(artifact.name for artifact in imported)
        raise SeveralArtifacts(f"it holds {len(digests)} artifacts: {names}", where=str(path), hint="import them first")
    return digests.pop()


def _fetch(visited: Store, home: Home, reference: Reference, *, evidence_alone: bool) -> Digest:
    from mlxbuild.registry.oci.exchange.pull import pull, pull_evidence

    settings = Settings.load(home)
    if evidence_alone:
        return pull_evidence(visited, reference, settings=settings)
    return pull(visited, reference, settings=settings).digest
