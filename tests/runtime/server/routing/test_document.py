"""The OpenAPI document: it is valid, tells of every route, and names nothing of how the server is built."""

from __future__ import annotations

import inspect
import json
import re

import httpx
import pytest
import schemathesis

from mlxbuild.runtime.server.app import APIS, create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.routing.document import document
from mlxbuild.runtime.server.routing.query import Query
from mlxbuild.runtime.server.routing.route import Route
from tests.runtime.server.running import RunningServer

ROUTES = [route for api in APIS for route in api.routes]


def test_every_route_is_told_of(hello_application: Application, hello: httpx.Client) -> None:
    app = create_app(hello_application)
    routed = {
        (method, "/" + re.sub(r"<(\w+)(:\w+)?>", "{}", route.path))
        for route in app.router.routes
        for method in route.methods
        if method != "HEAD"
    }
    paths = hello.get("/openapi.json").json()["paths"]
    told = {
        (method.upper(), re.sub(r"{\w+}", "{}", path))
        for path, each in paths.items()
        for method in each
        if method != "head"
    }
    assert told == routed


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_handler_takes_what_its_route_declares(route: Route) -> None:
    taken = set(inspect.signature(route.handler).parameters) - {"request", "_request", "body", "query"}
    assert taken == set(route.parameters) == set(re.findall(r"{(\w+)}", route.path))
    assert route.body is None or issubclass(route.body, RequestBody)
    assert route.query is None or issubclass(route.query, Query)


def test_open_paths_ask_for_no_key() -> None:
    paths = document(APIS, version="0", asks_for_key=True)["paths"]
    open_paths = {path for path, each in paths.items() if each.get("get", {}).get("security") == []}
    assert open_paths == {"/", "/api/version", "/api/health"}
    assert all("401" not in paths[path]["get"]["responses"] for path in open_paths)


def test_a_shared_route_describes_the_answers_of_both_apis() -> None:
    models = document(APIS, version="0")["paths"]["/v1/models"]["get"]
    assert models["tags"] == ["OpenAI", "Anthropic"]
    openai, anthropic = models["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert set(openai["required"]) == {"data"}
    assert set(anthropic["required"]) == {"data", "has_more", "first_id", "last_id"}
    assert {parameter["name"] for parameter in models["parameters"] if parameter["in"] == "header"} == {
        "anthropic-version"
    }


def test_the_document_is_sound(hello_server: RunningServer) -> None:
    schema = schemathesis.openapi.from_url(f"{hello_server.url}/openapi.json")
    schema.validate()
    assert "runtime__" not in json.dumps(schema.raw_schema)
