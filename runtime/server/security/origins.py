"""Which websites may use the server from a browser, and the headers that tell the browser so (CORS)."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

_SCHEMES = ("app://", "file://", "tauri://", "vscode-webview://", "vscode-file://")
_EXTENSIONS = ("chrome-extension://", "moz-extension://", "safari-web-extension://")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]")
_METHODS = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
_HEADERS = (
    "Authorization, Content-Type, User-Agent, Accept, X-Requested-With, X-Api-Key, X-Request-Id, OpenAI-Beta, "
    "OpenAI-Organization, OpenAI-Project, Anthropic-Version, Anthropic-Beta, Anthropic-Dangerous-Direct-Browser-Access"
)
_PREFLIGHT_SECONDS = 12 * 3600


class Origins:
    """The origins that are let in: local ones, applications and browser extensions, and those of the settings."""

    def __init__(self, others: Iterable[str] = ()) -> None:
        """`others` may have `*` in them."""
        self._others = tuple(origin.strip().rstrip("/").lower() for origin in others if origin.strip())

    def admit(self, origin: str) -> bool:
        """Whether a website may use the server."""
        origin = origin.lower()
        if origin.startswith((*_SCHEMES, *_EXTENSIONS)) or _is_local(origin):
            return True
        return any(fnmatchcase(origin, other) for other in self._others)


def _is_local(origin: str) -> bool:
    scheme, separator, rest = origin.partition("://")
    name, colon, port = rest.rpartition(":") if not rest.endswith("]") else (rest, "", "")
    host = name if colon and port.isdigit() else rest
    return bool(separator) and scheme in ("http", "https") and host in _LOCAL_NAMES


def headers(origin: str, requested: str | None = None) -> dict[str, str]:
    """What a browser is told of an origin that is let in; `requested` are the headers that a preflight asks for."""
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
