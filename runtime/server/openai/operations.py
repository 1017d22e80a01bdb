"""The OpenAPI operations of OpenAI's routes."""

from __future__ import annotations

from mlxbuild.runtime.server.openai.chat.body import ChatBody
from mlxbuild.runtime.server.openai.completions.body import CompletionBody
from mlxbuild.runtime.server.openai.embeddings.body import EmbeddingBody
from mlxbuild.runtime.server.openai.responses.body import ResponseBody
from mlxbuild.runtime.server.routing.operation import EVENT, EVENTS, JSON, Operation, Reply, answers, fields

_ERROR = fields(error=fields("message", "type", "param", "code"))
_ASKING = (400, 404, 408, 413, 415, 500, 503)
_COMPLETION = fields("id", "object", "created", "model", "choices", "usage")
_RESPONSE = fields("id", "object", "created_at", "model", "status", "output", "usage")
_MODEL = fields("id")

OPERATIONS = (
    Operation(
        "POST",
        "/v1/chat/completions",
        "Answer a conversation",
        answers((JSON, _COMPLETION), (EVENTS, EVENT), errors=_ERROR, statuses=_ASKING),
        ChatBody,
    ),
    Operation(
        "POST",
        "/v1/completions",
        "Continue prompts",
        answers((JSON, _COMPLETION), (EVENTS, EVENT), errors=_ERROR, statuses=_ASKING),
        CompletionBody,
    ),
    Operation(
        "POST",
        "/v1/embeddings",
        "Embed texts",
        answers((JSON, fields("object", "data", "model", "usage")), errors=_ERROR, statuses=_ASKING),
        EmbeddingBody,
    ),
    Operation(
        "POST",
        "/v1/responses",
        "Answer a conversation, item by item",
        answers((JSON, _RESPONSE), (EVENTS, EVENT), errors=_ERROR, statuses=_ASKING),
        ResponseBody,
    ),
    *(
        Operation(
            method,
            f"/v1/responses/{{response_id}}{below}",
            summary,
            answers((JSON, reply), errors=_ERROR, statuses=(400, 404, 500)),
            parameters={"response_id": "The id of the response."},
        )
        for method, below, summary, reply in (
            ("GET", "", "Show a stored response", _RESPONSE),
            ("DELETE", "", "Delete a stored response", fields("id", "object", "deleted")),
            ("GET", "/input_items", "List the input items of a response", fields("object", "data", "has_more")),
        )
    ),
    Operation("GET", "/v1/models", "List the models", {200: Reply({JSON: fields("data")})}),
    Operation(
        "GET",
        "/v1/models/{model}",
        "Show one model",
        answers((JSON, _MODEL), errors=_ERROR, statuses=(400, 404, 500)),
        parameters={"model": "The model's name; slashes need no escaping."},
    ),
)
