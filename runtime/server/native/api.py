"""Ollama's API as a whole: its routes, and how it writes errors and streams."""

from __future__ import annotations

from typing import Any

from sanic import Blueprint

from runtime.server.api import Api, Manners, json_line
from runtime.server.failures import HttpFailure
from runtime.server.native import small_routes


def _error_body(failure: HttpFailure, _request_id: str) -> dict[str, Any]:
    told = {"error": failure.message, "code": failure.code, "hint": failure.hint}
    return {key: value for key, value in told.items() if value is not None}


MANNERS = Manners(
    _error_body, lambda failure, request_id: json_line(_error_body(failure, request_id)), "application/x-ndjson"
)


def _routes() -> Blueprint:
    blueprint = Blueprint("native")
    small_routes.add_to(blueprint)
    return blueprint


API = Api(("",), MANNERS, _routes)
