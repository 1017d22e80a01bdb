"""The example's variants as a scheduler's models: what its tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import Descriptor
from mlxbuild.runtime.protocol.events import Chunk
from mlxbuild.runtime.protocol.requests import CompletionRequest
from mlxbuild.runtime.residency.lease import Lease
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.runner.client import Runner

INT4, INT8, FULL = "hello:int4@1.0", "hello:int8@1.0", "hello:none@1.0"


def admit(reference: Reference, digest: Digest) -> Digest:
    """Anything."""
    return digest


@asynccontextmanager
async def residency(store: Store, limits: Limits | None = None) -> AsyncIterator[Residency]:
    """Models of a store, all of which are gone at the end."""
    models = Residency.of(store, admit, limits)
    try:
        yield models
    finally:
        await models.close()
        assert models.resident() == []
        assert models.waiting == 0


async def answer(runner: Runner | Lease, tokens: int = 3) -> None:
    """Have it answer something."""
    *_, last = [event async for event in runner.answer(CompletionRequest("hello", options={"max_tokens": tokens}))]
    assert isinstance(last, Chunk)
    assert last.finish is not None


def names(models: Residency) -> set[str]:
    """Of those in memory."""
    return {resident.name for resident in models.resident()}


def digest_of(store: Store, name: str) -> Digest:
    """What a name means."""
    return store.tags.resolve(Reference.parse(name))


def tag(store: Store, name: str, digest: Digest) -> None:
    """Give an artifact a name."""
    media_type = "application/vnd.oci.image.manifest.v1+json"
    store.tags.set({name: Descriptor(digest, store.size(digest), media_type)})
