"""What defines an API: its routes, and its format of errors and streams."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from sanic import Blueprint, Request
from sanic.response import HTTPResponse

from mlxbuild.runtime.server.responses.wire_format import WireFormat
from mlxbuild.runtime.server.routing.operation import Operation

Route = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]
"""A route; it returns None if it has sent the response itself."""


@dataclass(frozen=True, slots=True)
class Api:
    """One API of the server."""

    prefixes: tuple[str, ...]
    """The path prefixes of the API, whose errors are written in its format."""
    wire_format: WireFormat
    routes: Callable[[], Blueprint]
    """Creates a blueprint with routes that are declared by `declare`."""
    name: str = ""
    operations: tuple[Operation, ...] = ()
    """The routes as described in the OpenAPI document."""
    client_header: str = ""
    """A header that all clients of this API send, and no others."""
    shared_prefix: str | None = None
    """A path prefix shared with another API; requests with `client_header` are answered in this API's format."""

    def length_of_match(self, request: Request) -> int:
        """The length of the longest prefix that matches a request; -1 if none does."""
        prefixes = list(self.prefixes)
        if self.shared_prefix is not None and self.client_header in request.headers:
            prefixes.append(self.shared_prefix)
        return max((len(prefix) for prefix in prefixes if f"{request.path}/".startswith(f"{prefix}/")), default=-1)


def api_of(apis: Sequence[Api], request: Request) -> Api:
    """The API of a request, even if no route exists for its path; of equal matches, the last one."""
    return max(reversed(apis), key=lambda api: api.length_of_match(request))


def declare(blueprint: Blueprint, methods: str, path: str, route: Route) -> None:
    """Declare a route for methods such as `GET HEAD`. The route reads the request's body itself, by `bodies`."""
    blueprint.add_route(route, path, methods=methods.split(), stream=True)
