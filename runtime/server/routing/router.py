"""Adds the routes of all APIs to Sanic's router; where several APIs have the same route, the request decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sanic import Request, Sanic
from sanic.response import HTTPResponse

from mlxbuild.runtime.server.routing.api import Api, api_of
from mlxbuild.runtime.server.routing.route import Handler, Route

Shared = dict[tuple[str, str], list[tuple[Api, Route]]]
_PARAMETER = re.compile(r"{(\w+)}")


def by_path(apis: Sequence[Api]) -> Shared:
    """The routes of all APIs by method and path, with their APIs in the given order."""
    declared: Shared = {}
    for api in apis:
        for route in api.routes:
            declared.setdefault((route.method, route.path), []).append((api, route))
    return declared


def add_routes(app: Sanic[Any, Any], apis: Sequence[Api]) -> None:
    """Add all routes to an application. To Sanic they stream, so that it leaves their bodies to `bodies`."""
    for (method, path), owned in by_path(apis).items():
        methods = ("GET", "HEAD") if method == "GET" else (method,)
        name = f"{method} {path}"
        app.add_route(_handler(owned, apis), _sanic_path(owned[0][1]), methods=methods, name=name, stream=True)


def _handler(owned: Sequence[tuple[Api, Route]], apis: Sequence[Api]) -> Handler:
    async def answer(request: Request, **path_parameters: str) -> HTTPResponse | None:
        asked = api_of(apis, request) if len(owned) > 1 else None
        route = next((route for api, route in owned if api is asked), owned[0][1])
        return await route.answer(request, path_parameters)

    return answer


def _sanic_path(route: Route) -> str:
    def written(found: re.Match[str]) -> str:
        return f"<{found[1]}:{'path' if route.parameters[found[1]].has_slashes else 'str'}>"

    return _PARAMETER.sub(written, route.path)
