"""The websites that may use the server from a browser, and the CORS headers for them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mlxbuild.runtime.server.authority import Authority
from mlxbuild.runtime.server.security.hosts import HostNames

_APPLICATIONS = re.compile(
    r"(app|file|tauri|vscode-webview|vscode-file|chrome-extension|moz-extension|safari-web-extension)://[^\s/]*"
)
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})
_PORTS = {"http": 80, "https": 443}
_METHODS = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
_HEADERS = (
    "Authorization, Content-Type, User-Agent, Accept, X-Requested-With, X-Api-Key, X-Request-Id, OpenAI-Beta, "
    "OpenAI-Organization, OpenAI-Project, Anthropic-Version, Anthropic-Beta, "
    "Anthropic-Dangerous-Direct-Browser-Access, HTTP-Referer, X-Title"
)
_PREFLIGHT_SECONDS = 12 * 3600


class Origins:
    """The allowed origins: local ones, applications and browser extensions, and those of the settings."""

    def __init__(self, others: Iterable[str] = (), hosts: HostNames | None = None) -> None:
        """`others` may contain `*`; `hosts` are the server's own names."""
        self._others = tuple(_pattern(origin) for origin in others if origin.strip())
        self._hosts = hosts or HostNames()

    def admit(self, origin: str, host: str = "") -> bool:
        """Whether a website may use the server.

        Contract: it is local, an application or an extension, in the settings, or a page of this server itself: then
        `host`, the request's `Host` header, names the same host and port, and cannot be rebound.
        """
        origin = origin.lower()
        if _APPLICATIONS.fullmatch(origin) or any(other.fullmatch(origin) for other in self._others):
            return True
        scheme, separator, rest = origin.partition("://")
        website = Authority.parse(rest)
        if not separator or scheme not in _PORTS or website is None or website.host == "":
            return False
        return website.host in _LOCAL_NAMES or self._is_own_page(website, Authority.parse(host), _PORTS[scheme])

    def _is_own_page(self, website: Authority, asked: Authority | None, port: int) -> bool:
        if asked is None or (website.host, website.port or port) != (asked.host, asked.port or port):
            return False
        return self._hosts.cannot_be_rebound(website)


def _pattern(written: str) -> re.Pattern[str]:
    """The pattern of an origin in which `*` matches anything."""
    return re.compile(".*".join(map(re.escape, written.strip().rstrip("/").lower().split("*"))), re.DOTALL)


def headers(origin: str, requested: str | None = None) -> dict[str, str]:
    """The CORS headers for an allowed origin; `requested` are the headers that a preflight asks for."""
    told = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "X-Request-Id, Retry-After",
        "Vary": "Origin",
    }
    if requested is not None:
        stainless = [name.strip() for name in requested.split(",") if name.strip().lower().startswith("x-stainless-")]
        told |= {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": ", ".join([_HEADERS, *stainless]),
            "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
        }
    return told
