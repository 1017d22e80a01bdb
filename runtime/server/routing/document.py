"""Builds the OpenAPI document of a server from the routes of its APIs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic.json_schema import models_json_schema

from mlxbuild.runtime.server.responses.schemas import Schema
from mlxbuild.runtime.server.routing.api import Api
from mlxbuild.runtime.server.routing.query import Query
from mlxbuild.runtime.server.routing.reply import JSON, Reply
from mlxbuild.runtime.server.routing.route import Route
from mlxbuild.runtime.server.routing.router import by_path

_LONG_NAME = re.compile(r"\bmlxbuild__runtime__server__(\w+)")
_VERSION = "3.1.0"
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_SCHEMAS = "#/components/schemas/{model}"
_BYTES: Schema = {"type": "string", "format": "binary"}
Named = Mapping[type[Any], Schema]
"""References to the schemas of bodies, by their types."""


def document(apis: Sequence[Api], *, version: str, asks_for_key: bool = False) -> dict[str, Any]:
    """The document of all routes, tagged by the names of their APIs."""
    declared = by_path(apis)
    bodies = {route.body for owned in declared.values() for _, route in owned if route.body is not None}
    models = [(body, "validation") for body in sorted(bodies, key=lambda body: body.__qualname__)]
    references, definitions = models_json_schema(models, ref_template=_SCHEMAS)  # type: ignore[arg-type]
    named = {model: reference for (model, _), reference in references.items()}
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), owned in declared.items():
        paths.setdefault(path, {})[method.lower()] = _operation(owned, named, asks_for_key=asks_for_key)
    return _with_short_names(
        {
            "openapi": _VERSION,
            "info": {"title": "mlxbuild", "version": version, "description": "Models, served with MLX."},
            "paths": paths,
            "components": {"schemas": definitions.get("$defs", {}), "securitySchemes": _KEYS if asks_for_key else {}},
            "security": [{name: []} for name in _KEYS] if asks_for_key else [],
        }
    )


def _with_short_names(told: dict[str, Any]) -> dict[str, Any]:
    """Shorten the long names by which pydantic distinguishes models of the same name."""
    text = _LONG_NAME.sub(lambda found: found[1].replace("__", "."), json.dumps(told))
    short: dict[str, Any] = json.loads(text)
    return short


def _operation(owned: Sequence[tuple[Api, Route]], named: Named, *, asks_for_key: bool) -> dict[str, Any]:
    """The operation of a route; of several APIs' routes, all of their parameters and responses."""
    _, first = owned[0]
    told: dict[str, Any] = {"tags": [api.name for api, _ in owned], "summary": first.summary}
    if asks_for_key and not first.needs_key:
        told["security"] = []
    if parameters := [*_path_parameters(first), *_headers(owned), *_query_parameters(owned)]:
        told["parameters"] = parameters
    if first.body is not None:
        told["requestBody"] = {"required": True, "content": {JSON: {"schema": named[first.body]}}}
    elif first.reads_bytes:
        told["requestBody"] = {"required": True, "content": {"application/octet-stream": {"schema": _BYTES}}}
    told["responses"] = _responses(owned)
    return told


def _path_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name, each in route.parameters.items():
        schema = {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "description": each.description, "schema": schema}


def _headers(owned: Sequence[tuple[Api, Route]]) -> Iterator[dict[str, Any]]:
    """The headers by which clients of an API are told from those of others at the same path."""
    for api, _ in owned if len(owned) > 1 else ():
        if api.client_header:
            meaning = f"Clients of the API {api.name} send it, and are answered in its format."
            schema = {"type": "string"}
            yield {"name": api.client_header, "in": "header", "description": meaning, "schema": schema}


def _query_parameters(owned: Sequence[tuple[Api, Route]]) -> Iterator[dict[str, Any]]:
    for api, route in owned:
        if route.query is not None:
            condition = f" Only with `{api.client_header}`." if len(owned) > 1 and api.client_header else ""
            yield from _each_parameter(route.query, condition)


def _each_parameter(query: type[Query], condition: str) -> Iterator[dict[str, Any]]:
    schemas = query.model_json_schema()
    for name, each in schemas["properties"].items():
        schema = {key: value for key, value in each.items() if key not in ("title", "description")}
        if "default" in schema and schema["default"] is None:
            del schema["default"]
        yield {
            "name": name,
            "in": "query",
            "required": name in schemas.get("required", ()),
            "allowEmptyValue": name in query.flags,
            "description": each["description"] + condition,
            "schema": schema,
        }


def _responses(owned: Sequence[tuple[Api, Route]]) -> dict[str, Any]:
    """The responses by status; those of several APIs are alternatives."""
    contents: dict[int, dict[str, list[Schema]]] = {}
    for api, route in owned:
        error = Reply() if route.method == "HEAD" else Reply({JSON: api.wire_format.error_schema})
        for status, reply in {**dict.fromkeys(route.error_statuses, error), **route.replies}.items():
            kinds = contents.setdefault(status, {})
            for kind, schema in reply.contents.items():
                kinds.setdefault(kind, []).append(schema)
    return {str(status): _response(status, kinds) for status, kinds in sorted(contents.items())}


def _response(status: int, kinds: Mapping[str, Sequence[Schema]]) -> dict[str, Any]:
    told: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if kinds:
        told["content"] = {kind: {"schema": _either(schemas)} for kind, schemas in kinds.items()}
    return told


def _either(schemas: Sequence[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
