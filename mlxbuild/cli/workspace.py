"""What every command begins with: the home, its store, and the lease that keeps blobs in place."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from registry.digest import Digest
from registry.home import Home
from registry.reference import Reference
from registry.store.errors import StoreReadOnly
from registry.store.layout import Store
from registry.store.leases import shared


@contextlib.contextmanager
def open_store() -> Iterator[Store]:
    """The store of the home, made if it is not there, held against garbage collection."""
    home = Home.from_environment()
    with shared(home, waiting=tell):
        yield Store.open(home)


def require_writable(store: Store) -> None:
    """Refuse to begin work whose results could not be kept.

    Raises:
        StoreReadOnly: the home cannot be written to.
    """
    if not os.access(store.home.store, os.W_OK):
        raise StoreReadOnly(
            "the store is read-only", where=str(store.home.store), hint="choose another home with MLXBUILD_HOME"
        )


def find(store: Store, name: str) -> tuple[Reference, Digest]:
    """What a name on the command line means: a reference, or `sha256:…` of a manifest.

    Raises:
        UnknownReference: nothing in the store has that name.
    """
    if name.startswith("sha256:"):
        digest = Digest.parse(name)
        store.path(digest)
        return Reference("untagged", digest=digest), digest
    reference = Reference.parse(name)
    return reference, store.tags.resolve(reference)


def tell(message: str) -> None:
    """Something on stderr that is no data."""
    sys.stderr.write(f"{message}\n")
