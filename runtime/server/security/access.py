"""The access checks of every request before its route: host, origin, API key and rate limit."""

from __future__ import annotations

import math

from sanic import Request
from sanic.response import BaseHTTPResponse, HTTPResponse, empty

from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.logger import log
from mlxbuild.runtime.server.security.api_keys import BrokenKeyFile, KeyRing
from mlxbuild.runtime.server.security.failures import Forbidden, KeysUnreadable, NoApiKey, RateLimited
from mlxbuild.runtime.server.security.hosts import HostNames, is_loopback
from mlxbuild.runtime.server.security.origins import Origins, headers
from mlxbuild.runtime.server.security.rates import RateLimit


class AccessCheck:
    """The access checks of one server."""

    def __init__(self, application: Application, open_paths: frozenset[str]) -> None:
        """`open_paths` need no key, as probes and clients use them to detect the server."""
        self._open_paths = open_paths
        settings = application.settings
        self._places = settings.places
        self._checks_host = is_loopback(settings.host)
        self._hosts = HostNames(settings.hosts)
        self._origins = Origins(settings.origins, self._hosts)
        self._keys = KeyRing(application.home) if settings.asks_for_key else None
        self._told: str | None = None
        per_minute = settings.requests_per_minute
        self._rate = RateLimit(per_minute) if per_minute else None

    async def check(self, request: Request) -> HTTPResponse | None:
        """Request middleware: admit a request, answer a browser's preflight, or refuse.

        Raises:
            Forbidden, NoApiKey, RateLimited: the request is refused.
            KeysUnreadable: the server cannot read its keys, so every request is refused.
        """
        if self._checks_host and not self._hosts.are_told_by(request.headers.get("host", "")):
            raise Forbidden(
                "the Host header names another machine",
                hint=f"add the name to `serve.hosts` {self._places.of('hosts')}",
            )
        if not all(self._admits(origin, request) for origin in request.headers.getall("origin", [])):
            raise Forbidden(
                "the website is not allowed to use this server",
                hint=f"add its origin to `serve.origins` {self._places.of('origins')}",
            )
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return empty(204)
        caller = self._caller(request)
        if self._rate is not None and (seconds := self._rate.wait_seconds(caller)) > 0:
            request.ctx.retry_after = math.ceil(seconds)
            raise RateLimited(
                f"too many requests; try again in {math.ceil(seconds)} seconds",
                hint=f"or raise `serve.requests_per_minute` {self._places.of('requests_per_minute')}, "
                f"now {self._rate.per_minute}",
            )
        return None

    async def tell_browser(self, request: Request, response: BaseHTTPResponse) -> None:
        """Response middleware: add the CORS headers that let a website read the response, and `Retry-After`."""
        origin = request.headers.get("origin")
        if origin is not None and self._admits(origin, request):
            requested = request.headers.get("access-control-request-headers", "")
            response.headers.update(headers(origin, requested if request.method == "OPTIONS" else None))
        if (seconds := getattr(request.ctx, "retry_after", None)) is not None:
            response.headers["Retry-After"] = str(seconds)

    def _admits(self, origin: str, request: Request) -> bool:
        return self._origins.admit(origin, request.headers.get("host", ""))

    def _caller(self, request: Request) -> str:
        """The caller of a request: the name of an API key, or an address."""
        if self._keys is None:
            return request.ip or "-"
        key = _key(request)
        is_open = request.path in self._open_paths
        try:
            name = None if key is None else self._keys.name_of(key)
            self._told = None
        except BrokenKeyFile as error:
            self._tell_once(error)
            if not is_open:
                raise KeysUnreadable("the server cannot read its API keys; its log says why") from None
            name = None
        if name is not None:
            request.ctx.caller = name
            return f"key {name}"
        if is_open:
            return request.ip or "-"
        what = "there is no API key in the request" if key is None else "the API key is not known"
        raise NoApiKey(
            what,
            hint="send `Authorization: Bearer KEY`, or set MLXBUILD_API_KEY for `mlxbuild`; "
            "`mlxbuild config add-key NAME` makes one",
        )

    def _tell_once(self, error: BrokenKeyFile) -> None:
        """Log each fault of the key file once; callers get no details."""
        if error.message != self._told:
            self._told = error.message
            log.error("broken-key-file", reason=error.message, file=error.where, hint=error.hint)


def _key(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    given: str | None = request.headers.get("x-api-key")
    return given
