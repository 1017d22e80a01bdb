"""What a server is made of: everything that its routes use, handed in from outside. The routes live elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sanic import Request

from registry.digest import Digest
from registry.home import Home
from registry.store.layout import Store
from runtime.scheduler.residency import Residency
from runtime.server.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """What a build is at."""

    status: str
    digest: str | None = None
    total_bytes: int | None = None
    completed_bytes: int | None = None


Observe = Callable[[BuildProgress], None]
"""Told of a build's progress, from any thread."""
Checkpoint = Callable[[], None]
"""Called often by a build; raises where it is to end."""


class Builder(Protocol):
    """What makes artifacts. Both methods block, and are called in threads."""

    def from_spec(self, name: str | None, text: str, observe: Observe, checkpoint: Checkpoint) -> Digest:
        """Build a ModelSpec, given as YAML, and name what it makes; `name` takes the place of the recipe's."""

    def from_fields(self, name: str, fields: Mapping[str, Any], observe: Observe, checkpoint: Checkpoint) -> Digest:
        """Build what the fields of Ollama's `create` ask for, and name it."""


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
