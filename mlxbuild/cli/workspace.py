"""Opens the store for a command, with the lease that protects its blobs from garbage collection."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mlxbuild.cli.invocation import chosen_home
from mlxbuild.registry.artifact.manifest import read
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import MlxbuildError, UserError
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.store.errors import StoreReadOnly
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.leases import shared
from mlxbuild.registry.store.tags import UnknownReference

_SHORT_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{8,63})")


class PathNamed(UserError):
    """A command that takes the name of an artifact was given a file or folder."""

    code = "path-named"


def tell(message: str) -> None:
    """Print a message on stderr."""
    sys.stderr.write(f"{message}\n")


@contextlib.contextmanager
def open_store(waiting: Callable[[str], None] = tell) -> Iterator[Store]:
    """Open the store of the home, created if missing, with the shared lease.

    `waiting` is called with a message if a garbage collection has to finish first.
    """
    home = chosen_home()
    with shared(home, waiting=waiting):
        yield Store.open(home)


def require_writable(store: Store) -> None:
    """Check that results can be stored before work begins.

    Raises:
        StoreReadOnly: the home cannot be written to.
        StoreFailure: the tags cannot be read, so none could be set.
    """
    store.tags.items()
    if not os.access(store.home.store, os.W_OK):
        raise StoreReadOnly(
            "the store is read-only", where=str(store.home.store), hint="choose another home with MLXBUILD_HOME"
        )


def find(store: Store, name: str) -> tuple[Reference, Digest]:
    """Resolve a name on the command line: a reference, or `sha256:…` of a manifest.

    The digest may be shortened to eight digits or more, with or without `sha256:`.

    Raises:
        UnknownReference: nothing in the store has that name.
        PathNamed: it is the path of something to build from instead.
        InvalidReference: it is no name.
    """
    try:
        return _find(store, name)
    except (InvalidReference, UnknownReference) as error:
        path = Path(name)
        if not path.exists():
            raise
        from mlxbuild.cli.buildable_paths import described

        if (found := described(path)) is None:
            raise
        what, command = found
        raise PathNamed(f"`{name}` is {what}, not the name of an artifact", hint=f"{command} it first") from error


def _find(store: Store, name: str) -> tuple[Reference, Digest]:
    digest = _by_short_digest(store, name)
    if digest is None and name.startswith("sha256:"):
        if _SHORT_DIGEST.fullmatch(name):
            raise UnknownReference(
                f"no artifact, or more than one, has a digest that begins with `{name}`",
                hint="`mlxbuild list` lists the artifacts that have names",
            )
        digest = Digest.parse(name)
        store.path(digest)
    if digest is not None:
        return Reference("untagged", digest=digest), digest
    reference = Reference.parse(name)
    return reference, store.tags.resolve(reference)


def _by_short_digest(store: Store, name: str) -> Digest | None:
    match = _SHORT_DIGEST.fullmatch(name)
    if match is None:
        return None
    tags = store.tags.items()
    if any(tag.startswith(f"{name}:") for tag, _ in tags):
        return None
    meant = {entry.digest for _, entry in tags if entry.digest.hex.startswith(match[1])}
    meant = meant or {blob.digest for blob in store.blobs() if _is_meant(store, blob, match[1])}
    return meant.pop() if len(meant) == 1 else None


def _is_meant(store: Store, blob: Blob, beginning: str) -> bool:
    """Whether a blob is a manifest whose digest begins so; it is read only if its digest does."""
    if not blob.digest.hex.startswith(beginning):
        return False
    try:
        read(store, blob.digest)
    except MlxbuildError:
        return False
    return True
