"""The OpenAPI document: it is valid, tells of every route, and names nothing of how the server is built."""

from __future__ import annotations

import json
import re

import httpx
import schemathesis

from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from tests.runtime.server.running import RunningServer


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


def test_the_document_is_sound(hello_server: RunningServer) -> None:
    schema = schemathesis.openapi.from_url(f"{hello_server.url}/openapi.json")
    schema.validate()
    assert "runtime__" not in json.dumps(schema.raw_schema)
