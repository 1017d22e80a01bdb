"""The dependencies of the server's routes, which are passed in from outside."""

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
    """A client's request to build an artifact."""

    name: Reference | None
    """The name of the artifact; None if the recipe has it."""
    spec: str | None
    """A ModelSpec, as YAML or JSON."""
    fields: Mapping[str, Any]
    """The fields of Ollama's `create`, used without a ModelSpec; their types are checked."""
    files: Mapping[str, Digest]
    """Blobs in the store, by their path relative to the recipe."""
    adapters: Mapping[str, Digest]
    """Blobs of a LoRA adapter, by their path relative to the recipe."""


@dataclass(frozen=True, slots=True)
class BuildStatus:
    """One line about a build; later ones of the same stage replace it."""

    text: str
    stage: str | None = None
    """The name of a stage whose progress is measured."""
    total_bytes: int = 0
    completed_bytes: int = 0


class Builder(Protocol):
    """Builds artifacts."""

    def build(self, order: BuildOrder, observe: Callable[[BuildStatus], None]) -> Digest:
        """Build and tag an artifact; blocks until it is done, or its thread is cancelled. `observe` gets its status.

        Raises:
            MlxbuildError: the artifact cannot be built.
        """


@dataclass(frozen=True, slots=True)
class Application:
    """The dependencies of one server."""

    home: Home
    store: Store
    settings: ServerSettings
    residency: Residency
    builder: Builder
    version: str


def application_of(request: Request) -> Application:
    """The application of the server that received a request."""
    application: Application = request.app.ctx.application
    return application
