"""The format of errors and streams in Anthropic's API."""

from __future__ import annotations

from typing import Any

from mlxbuild.runtime.protocol.prompt_length import told_lengths
from mlxbuild.runtime.server.failures import HttpFailure
from mlxbuild.runtime.server.responses.encoding import server_event
from mlxbuild.runtime.server.responses.schemas import fields
from mlxbuild.runtime.server.responses.wire_format import WireFormat

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(failure: HttpFailure, request_id: str) -> dict[str, Any]:
    """The JSON of an error."""
    kind = _TYPES.get(failure.status, "invalid_request_error" if failure.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": _message(failure)}, "request_id": request_id}


def _message(failure: HttpFailure) -> str:
    """The message; for too long a prompt in Anthropic's exact words, by which its clients shorten the conversation."""
    if lengths := told_lengths(failure.message):
        return f"prompt is too long: {lengths[0]} tokens > {lengths[1]} maximum"
    return failure.message if failure.hint is None else f"{failure.message} ({failure.hint})"


WIRE_FORMAT = WireFormat(
    error_body,
    fields("type", "request_id", error=fields("type", "message")),
    lambda failure, request_id: server_event(error_body(failure, request_id), "error"),
    "text/event-stream; charset=utf-8",
)
