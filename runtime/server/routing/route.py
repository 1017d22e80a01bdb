"""The declaration of a route: how it is answered, what it reads, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_type_hints

from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.bodies.validation import read_request
from mlxbuild.runtime.server.routing.query import Query, read_query
from mlxbuild.runtime.server.routing.reply import Reply

Handler = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]
"""Answers a request; it returns None if it has sent the response itself."""
_READING = frozenset({400, 408, 413, 415})
"""The statuses of bodies that cannot be read."""


@dataclass(frozen=True, slots=True)
class PathParameter:
    """A part of a route's path."""

    description: str
    has_slashes: bool = False
    """Whether it may contain slashes."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    The parameters of the handler say what it reads: `body` and `query` are read and validated by their types before it
    is called; all others, but the request, are parameters of the path.
    """

    method: str
    """The method; `GET` includes `HEAD`."""
    path: str
    """The path, with its parameters in braces."""
    handler: Handler
    summary: str
    replies: Mapping[int, Reply]
    """The responses to sound requests."""
    failures: frozenset[int] = frozenset()
    """The statuses of the handler's errors, besides those of access control, of the path, and of query and body."""
    parameters: Mapping[str, PathParameter] = field(default_factory=dict)
    reads_bytes: bool = False
    """Whether the handler reads the body itself, which may then be any bytes."""
    needs_key: bool = True
    """Whether the path needs an API key on a server that asks for one."""
    answers_while_stopping: bool = False
    """Whether the path is still answered while the server is stopping."""

    @property
    def body(self) -> type[RequestBody] | None:
        """The type of the JSON that the handler reads."""
        return _types(self.handler).get("body")

    @property
    def query(self) -> type[Query] | None:
        """The parameters of the query that the handler reads."""
        return _types(self.handler).get("query")

    @property
    def error_statuses(self) -> frozenset[int]:
        """The statuses of all errors that may answer a request which is valid HTTP."""
        access = {401, 403, 429} if self.needs_key else {403, 429}
        unavailable = set() if self.answers_while_stopping and not self.needs_key else {503}
        reading = _READING if self.body is not None or self.reads_bytes else set()
        target = {400} if self.query is not None or self.parameters else set()
        return self.failures | access | unavailable | reading | target

    async def answer(self, request: Request, path_parameters: Mapping[str, str]) -> HTTPResponse | None:
        """Read what the handler takes, and have it answer.

        Raises:
            Exception: any error of the handler.
            InvalidRequest, RequestTooLarge, RequestTooSlow, ContentCodingNotSupported: the query or body is refused.
        """
        given: dict[str, Any] = dict(path_parameters)
        if self.query is not None:
            given["query"] = read_query(request, self.query)
        if self.body is not None:
            given["body"] = await read_request(request, self.body)
        return await self.handler(request, **given)


@cache
def _types(handler: Handler) -> Mapping[str, Any]:
    return get_type_hints(handler)
