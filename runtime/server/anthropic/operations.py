"""The OpenAPI operations of Anthropic's routes."""

from __future__ import annotations

from mlxbuild.runtime.server.anthropic.body import MessagesBody, PromptBody
from mlxbuild.runtime.server.routing.operation import EVENT, EVENTS, JSON, Operation, answers, fields

_ERROR = fields("type", "request_id", error=fields("type", "message"))
_ASKING = (400, 404, 408, 413, 415, 500, 503)
_MESSAGE = fields("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage")

OPERATIONS = (
    Operation(
        "POST",
        "/v1/messages",
        "Answer a conversation",
        answers((JSON, _MESSAGE), (EVENTS, EVENT), errors=_ERROR, statuses=_ASKING),
        MessagesBody,
    ),
    Operation(
        "POST",
        "/v1/messages/count_tokens",
        "Count the tokens of a conversation",
        answers((JSON, fields("input_tokens")), errors=_ERROR, statuses=_ASKING),
        PromptBody,
    ),
)
