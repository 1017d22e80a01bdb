"""Builds the OpenAPI document of a server from the operations of its APIs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pydantic.json_schema import models_json_schema

from mlxbuild.runtime.server.routing.operation import Operation, Reply

_LONG_NAME = re.compile(r"\bmlxbuild__runtime__server__(\w+)")
_VERSION = "3.1.0"
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_SCHEMAS = "#/components/schemas/{model}"


def document(
    operations: Mapping[str, Iterable[Operation]], *, version: str, asks_for_key: bool = False
) -> dict[str, Any]:
    """The document of all operations, which are tagged by the keys of the mapping."""
    tagged = [(tag, operation) for tag, each in operations.items() for operation in each]
    bodies = {operation.body for _, operation in tagged if isinstance(operation.body, type)}
    models = [(body, "validation") for body in sorted(bodies, key=lambda body: body.__qualname__)]
    references, definitions = models_json_schema(models, ref_template=_SCHEMAS)  # type: ignore[arg-type]
    named: dict[Any, Mapping[str, Any]] = {model: reference for (model, _), reference in references.items()}
    paths: dict[str, dict[str, Any]] = {}
    for tag, operation in tagged:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, tag, named)
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


def _operation(operation: Operation, tag: str, named: Mapping[Any, Mapping[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {"tags": [tag], "summary": operation.summary}
    if operation.parameters:
        told["parameters"] = [
            {"name": name, "in": "path", "required": True, "description": meaning, "schema": {"type": "string"}}
            for name, meaning in operation.parameters.items()
        ]
    if operation.body is not None:
        schema = named[operation.body] if isinstance(operation.body, type) else operation.body
        told["requestBody"] = {"required": operation.needs_body, "content": {operation.body_type: {"schema": schema}}}
    told["responses"] = {str(status): _reply(status, reply) for status, reply in operation.replies.items()}
    return told


def _reply(status: int, reply: Reply) -> dict[str, Any]:
    told: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if reply.contents:
        told["content"] = {kind: {"schema": schema} for kind, schema in reply.contents.items()}
    return told
