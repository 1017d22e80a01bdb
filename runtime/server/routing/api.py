"""An API of the server: its routes, and the format in which requests below its paths are answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sanic import Request

from mlxbuild.runtime.server.request_id import ID_HEADER
from mlxbuild.runtime.server.responses.wire_format import WireFormat
from mlxbuild.runtime.server.routing.route import Route


@dataclass(frozen=True, slots=True)
class Api:
    """One API of the server."""

    name: str
    prefixes: tuple[str, ...]
    """The path prefixes of the API, whose errors are written in its format."""
    wire_format: WireFormat
    routes: tuple[Route, ...]
    client_header: str = ""
    """A header that all clients of this API send, and no others."""
    shared_prefix: str | None = None
    """A path prefix shared with another API; requests with `client_header` are answered in this API's format."""
    id_headers: tuple[str, ...] = (ID_HEADER,)
    """The response headers that carry the request's id."""

    def length_of_match(self, request: Request) -> int:
        """The length of the longest prefix that matches a request; -1 if none does."""
        prefixes = list(self.prefixes)
        if self.shared_prefix is not None and self.client_header in request.headers:
            prefixes.append(self.shared_prefix)
        return max((len(prefix) for prefix in prefixes if f"{request.path}/".startswith(f"{prefix}/")), default=-1)


def api_of(apis: Sequence[Api], request: Request) -> Api:
    """The API of a request, even if no route exists for its path; of equal matches, the last one."""
    return max(reversed(apis), key=lambda api: api.length_of_match(request))


def open_paths(apis: Sequence[Api]) -> frozenset[str]:
    """The paths that need no API key."""
    return frozenset(route.path for api in apis for route in api.routes if not route.needs_key)


def paths_while_stopping(apis: Sequence[Api]) -> frozenset[str]:
    """The paths that are answered while the server is stopping."""
    return frozenset(route.path for api in apis for route in api.routes if route.answers_while_stopping)
