"""What tells one API's manners from another's: its routes, and how it writes errors and streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sanic import Blueprint, Request
from sanic.response import HTTPResponse

from mlxbuild.runtime.server.failures import HttpFailure
from mlxbuild.runtime.server.openapi.operation import Operation

Route = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]
"""Answers a request; None where it wrote its answer itself."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How an API writes."""

    error_body: Callable[[HttpFailure, str], Mapping[str, Any]]
    """The JSON of an error; the text is the request's id."""
    stream_error: Callable[[HttpFailure, str], bytes]
    """What tells of an error in the middle of a stream."""
    stream_type: str
    """The content type of its streams."""


@dataclass(frozen=True, slots=True)
class Api:
    """One API of the server."""

    prefixes: tuple[str, ...]
    """The paths whose errors are written in its manners."""
    manners: Manners
    routes: Callable[[], Blueprint]
    """A new blueprint, its routes declared by `declare`."""
    name: str = ""
    operations: tuple[Operation, ...] = ()
    """What the OpenAPI document tells of the routes."""
    client_header: str = ""
    """A header that all of its clients send, and no others."""
    shared_prefix: str | None = None
    """Paths of another API that its clients may mean, too: with that header they are answered in its manners."""

    def length_of_match(self, request: Request) -> int:
        """How closely a request fits: -1 not at all, and the longer the prefix the closer."""
        prefixes = list(self.prefixes)
        if self.shared_prefix is not None and self.client_header in request.headers:
            prefixes.append(self.shared_prefix)
        return max((len(prefix) for prefix in prefixes if f"{request.path}/".startswith(f"{prefix}/")), default=-1)


def api_of(apis: Sequence[Api], request: Request) -> Api:
    """The API that a request means, also one to a route that nobody has; of two that fit alike, the later one."""
    return max(reversed(apis), key=lambda api: api.length_of_match(request))


def declare(blueprint: Blueprint, methods: str, path: str, route: Route) -> None:
    """Declare a route for some methods, as `GET HEAD`. Bodies are left to the route, which reads them by `bodies`."""
    blueprint.add_route(route, path, methods=methods.split(), stream=True)


def as_json(document: Mapping[str, Any]) -> bytes:
    """Compact JSON; text stays as it is."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_line(document: Mapping[str, Any]) -> bytes:
    """One line of NDJSON."""
    return as_json(document) + b"\n"


def server_event(document: Mapping[str, Any], name: str | None = None) -> bytes:
    """One server-sent event, with `event:` where it has a name."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + as_json(document) + b"\n\n"
