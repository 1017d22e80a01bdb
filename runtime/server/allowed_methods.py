"""Which methods a path takes. Sanic's router says so of paths without parameters, and forgets it of all others."""

from __future__ import annotations

from sanic import Request
from sanic.constants import HTTP_METHODS
from sanic.exceptions import MethodNotAllowed, NotFound


def allowed_methods(request: Request) -> tuple[str, ...]:
    """Those for which there is a route at a request's path, in the order of the alphabet."""
    return tuple(sorted(method for method in map(str, HTTP_METHODS) if _is_allowed(request, method)))


def _is_allowed(request: Request, method: str) -> bool:
    try:
        request.app.router.get(request.path, method, None)
    except (MethodNotAllowed, NotFound):
        return False
    return True
