"""What a server is made of: everything that its routes use, handed in from outside. The routes live elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sanic import Request

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.server.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What a client wants to have built."""

    name: Reference | None
    """What the artifact is to be called; None where the recipe says it."""
    spec: str | None
    """A ModelSpec, as YAML or JSON."""
    fields: Mapping[str, Any]
    """Without a ModelSpec: the fields of Ollama's `create`, checked for their types."""
    files: Mapping[str, Digest]
    """Blobs of the store, by the relative path that they have beside the recipe."""
    adapters: Mapping[str, Digest]
    """The same, of a LoRA adapter."""


class Builder(Protocol):
    """What makes artifacts."""

    def build(self, order: BuildOrder, observe: Callable[[str], None]) -> Digest:
        """Build, and give the names; blocks until it is done, or its thread cancelled. `observe` is told what it is at.

        Raises:
            MlxbuildError: it cannot be built.
        """


@dataclass(frozen=True, slots=True)
class Application:
    """One server."""

    home: Home
    store: Store
    settings: ServerSettings
    residency: Residency
    builder: Builder
    version: str


def application_of(request: Request) -> Application:
    """The application of the server that a request came to."""
    application: Application = request.app.ctx.application
    return application
