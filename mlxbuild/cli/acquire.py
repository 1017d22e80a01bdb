"""Finds the artifact of a name, and pulls it first if the name says at which registry it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer

from mlxbuild.cli.other_hubs import hint_for_hub, refuse_other_hubs
from mlxbuild.cli.transfer_display import shown
from mlxbuild.cli.workspace import find, tell
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.core.suggestions import joined
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
        return find_or_explain(store, name)
    except UnknownReference:
        if Reference.parse(name).host is None or not _pull(store, Reference.parse(name)):
            raise
    return find(store, name)


def find_or_explain(store: Store, name: str) -> tuple[Reference, Digest]:
    """Resolve a name in the store; for a missing one, the error says how the model may be had.

    Raises:
        UnknownReference: the store lacks it.
        PathNamed: it is the path of something to build from.
        NotARegistry: the name is one of the Hub or of Ollama's registry.
    """
    refuse_other_hubs(name)
    try:
        return find(store, name)
    except InvalidReference as error:
        error.hint = hint_for_hub(name) or error.hint  # the Hub's names may have capitals
        raise
    except UnknownReference as unknown:
        reference = Reference.parse(name)
        if reference.host is None:
            unknown.hint = joined((unknown.hint, *_ways(reference)))
        raise


def _ways(reference: Reference) -> Iterator[str]:
    """How else a model may be had."""
    if reference.digest is not None:
        return
    if reference.repository.count("/") == 1 and reference.tag is None:
        yield f"`mlxbuild init {reference.repository}` begins with a model of the Hub"
        return
    if "/" not in reference.repository:
        yield f"`mlxbuild import ollama:{reference}` begins with a model of Ollama's registry"
    yield "a name with its registry, `host/name:tag`, is pulled"


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
