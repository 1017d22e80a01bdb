"""What every request passes before its route: the checks of host, origin, key and rate."""

from __future__ import annotations

import math

from sanic import Request
from sanic.response import BaseHTTPResponse, HTTPResponse, empty

from runtime.server.application import Application
from runtime.server.security.api_keys import KeyRing
from runtime.server.security.failures import Forbidden, NoApiKey, RateLimited
from runtime.server.security.hosts import is_local_host, is_loopback
from runtime.server.security.origins import Origins, headers
from runtime.server.security.rates import RateLimit

OPEN_PATHS = frozenset({"/", "/api/version", "/api/health"})
"""What tells only that a server is there; asked without a key by probes and clients."""


class AccessCheck:
    """The checks of one server."""

    def __init__(self, application: Application) -> None:
        settings = application.settings
        self._checks_host = is_loopback(settings.host)
        self._hosts = frozenset(host.lower() for host in settings.hosts)
        self._origins = Origins(settings.origins)
        self._keys = KeyRing(application.home) if settings.asks_for_key else None
        per_minute = settings.requests_per_minute
        self._rate = RateLimit(per_minute) if per_minute else None

    async def check(self, request: Request) -> HTTPResponse | None:
        """Request middleware: let it through, answer a browser's preflight, or refuse.

        Raises:
            Forbidden, NoApiKey, RateLimited: it does not pass.
        """
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if self._checks_host and not is_local_host(host, self._hosts):
            raise Forbidden(
                "the Host header names another machine", hint="add the name to `hosts` in the server's settings"
            )
        if origin is not None and not self._admits(origin, host):
            raise Forbidden(
                "the website is not allowed to use this server", hint="add its origin to `origins`, or OLLAMA_ORIGINS"
            )
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return empty(204)
        caller = self._caller(request)
        if self._rate is not None and (seconds := self._rate.wait_seconds(caller)) > 0:
            request.ctx.retry_after = math.ceil(seconds)
            raise RateLimited(f"too many requests; try again in {math.ceil(seconds)} seconds")
        return None

    async def tell_browser(self, request: Request, response: BaseHTTPResponse) -> None:
        """Response middleware: the headers that let a website read the answer."""
        origin = request.headers.get("origin")
        if origin is not None and self._admits(origin, request.headers.get("host", "")):
            requested = request.headers.get("access-control-request-headers", "")
            response.headers.update(headers(origin, requested if request.method == "OPTIONS" else None))
        if (seconds := getattr(request.ctx, "retry_after", None)) is not None:
            response.headers["Retry-After"] = str(seconds)

    def _admits(self, origin: str, host: str) -> bool:
        """Whether a website may ask: an admitted one, or a page of this very server, under a name that is its own."""
        is_own_page = origin.partition("://")[2].lower() == host.lower() != ""
        return self._origins.admit(origin) or (is_own_page and is_local_host(host, self._hosts))

    def _caller(self, request: Request) -> str:
        """Who asks: the name of a key, or an address."""
        if self._keys is None:
            return request.ip or "-"
        key = _key(request)
        name = None if key is None else self._keys.name_of(key)
        if name is not None:
            request.ctx.caller = name
            return f"key {name}"
        if request.path in OPEN_PATHS:
            return request.ip or "-"
        what = "there is no API key in the request" if key is None else "the API key is not known"
        raise NoApiKey(what, hint="send `Authorization: Bearer KEY`; `mlxbuild config add-key NAME` makes one")


def _key(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    given: str | None = request.headers.get("x-api-key")
    return given
