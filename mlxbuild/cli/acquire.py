"""Finds the artifact of a name, and pulls it first if the name says at which registry it is."""

from __future__ import annotations

import sys

import typer

from mlxbuild.cli.transfer_display import shown
from mlxbuild.cli.workspace import find, tell
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference


def find_or_pull(store: Store, name: str) -> tuple[Reference, Digest]:
    """Resolve a name in the store. A missing one with a registry's host is pulled, on a terminal after a question.

    The trust policy decides about it as for `mlxbuild pull`.

    Raises:
        UnknownReference: the store lacks it, and it names no registry; or the person at the terminal said no.
        MlxbuildError: it cannot be pulled.
    """
    try:
        return find(store, name)
    except UnknownReference as unknown:
        reference = Reference.parse(name)
        if reference.host is None:
            unknown.hint = f"{unknown.hint}; {_ways(reference)}"
            raise
        if not _pull(store, reference):
            raise
    return find(store, name)


def _ways(reference: Reference) -> str:
    """How else a model may be had."""
    if reference.repository.count("/") == 1 and reference.tag is None:
        return f"`mlxbuild init {reference.repository}` begins with a model of the Hub"
    return "a name with its registry, `host/name:tag`, is pulled"


def _pull(store: Store, reference: Reference) -> bool:
    """Pull an artifact; false if the person at the terminal does not want it."""
    from mlxbuild.registry.oci.exchange.pull import pull

    settings = Settings.load(store.home)
    with shown("auto") as observe:
        if sys.stdin.isatty() and sys.stderr.isatty():
            from mlxbuild.registry.oci.exchange.inspection import inspect
            from mlxbuild.registry.oci.exchange.transfers import named_blobs

            found = inspect(store, reference, settings=settings, observe=observe)
            blobs = {item.blob for item in named_blobs(found.manifest)}
            missing = sum(blob.size_bytes for blob in blobs if not store.has(blob.digest))
            if not typer.confirm(f"pull {reference} ({format_bytes(missing)})?", default=True, err=True):
                return False
        else:
            tell(f"pulling {reference}, which is not in the store")
        pull(store, reference, settings=settings, observe=observe)
    return True
