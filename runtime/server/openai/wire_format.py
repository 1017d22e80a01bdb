"""The format of errors and streams in OpenAI's API."""

from __future__ import annotations

from typing import Any

from mlxbuild.runtime.protocol.prompt_length import told_lengths
from mlxbuild.runtime.server.failures import HttpFailure
from mlxbuild.runtime.server.responses.encoding import server_event
from mlxbuild.runtime.server.responses.schemas import fields
from mlxbuild.runtime.server.responses.wire_format import WireFormat

DONE = b"data: [DONE]\n\n"
"""The last event of a complete stream."""
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {
    "unknown-reference": "model_not_found",
    "context-exceeded": "context_length_exceeded",
    "unknown-previous-response": "previous_response_not_found",
}
"""OpenAI's codes that clients look for; other errors keep their codes in docs/errors.md."""


def error_body(failure: HttpFailure, _request_id: str) -> dict[str, Any]:
    """The JSON of an error."""
    kind = _TYPES.get(failure.status, "invalid_request_error" if failure.status < 500 else "api_error")
    code = _CODES.get(failure.code, failure.code)
    return {"error": {"message": _message(failure), "type": kind, "param": failure.request_field, "code": code}}


def _message(failure: HttpFailure) -> str:
    if lengths := told_lengths(failure.message):
        return (
            f"This model's maximum context length is {lengths[1]} tokens. "
            f"However, your messages resulted in {lengths[0]} tokens. Please reduce the length of the messages."
        )
    return failure.message if failure.hint is None else f"{failure.message} ({failure.hint})"


WIRE_FORMAT = WireFormat(
    error_body,
    fields(error=fields("message", "type", "param", "code")),
    lambda failure, request_id: server_event(error_body(failure, request_id)),
    "text/event-stream; charset=utf-8",
)
