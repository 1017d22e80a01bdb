"""How the native API writes errors and streams."""

from __future__ import annotations

from typing import Any

from mlxbuild.runtime.server.api import Manners, json_line
from mlxbuild.runtime.server.failures import HttpFailure


def error_body(failure: HttpFailure, _request_id: str) -> dict[str, Any]:
    """`error` is what Ollama's clients read; what is besides is ours, and as the tree of errors has it."""
    told = {
        "error": failure.message,
        "code": failure.code,
        "kind": failure.kind,
        "where": failure.where,
        "hint": failure.hint,
    }
    return {key: value for key, value in told.items() if value is not None}


MANNERS = Manners(
    error_body, lambda failure, request_id: json_line(error_body(failure, request_id)), "application/x-ndjson"
)
