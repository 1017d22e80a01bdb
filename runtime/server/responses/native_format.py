"""The native format of errors and streams: Ollama's, with fields of our own. Paths of no other API have it, too."""

from __future__ import annotations

from typing import Any

from mlxbuild.runtime.server.failures import HttpFailure
from mlxbuild.runtime.server.responses.encoding import json_line
from mlxbuild.runtime.server.responses.schemas import fields
from mlxbuild.runtime.server.responses.wire_format import WireFormat


def error_body(failure: HttpFailure, _request_id: str) -> dict[str, Any]:
    """The JSON of an error: `error` for Ollama's clients, and our own fields as in every mlxbuild error."""
    told = {
        "error": failure.message,
        "code": failure.code,
        "kind": failure.kind,
        "where": failure.where,
        "hint": failure.hint,
    }
    return {key: value for key, value in told.items() if value is not None}


NATIVE_FORMAT = WireFormat(
    error_body,
    fields("error"),
    lambda failure, request_id: json_line(error_body(failure, request_id)),
    "application/x-ndjson",
)
