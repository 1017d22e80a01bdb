"""The HTTP methods that a path allows; Sanic's router reports them only for paths without parameters."""

from __future__ import annotations

from sanic import Request
from sanic.constants import HTTP_METHODS
from sanic.exceptions import MethodNotAllowed, NotFound


def allowed_methods(request: Request) -> tuple[str, ...]:
    """The methods that have a route at the request's path, in alphabetical order."""
    return tuple(sorted(method for method in map(str, HTTP_METHODS) if _is_allowed(request, method)))


def _is_allowed(request: Request, method: str) -> bool:
    try:
        request.app.router.get(request.path, method, None)
    except (MethodNotAllowed, NotFound):
        return False
    return True
