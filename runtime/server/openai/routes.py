"""All routes of OpenAI's API."""

from __future__ import annotations

from mlxbuild.runtime.server.openai.chat.route import chat_completions
from mlxbuild.runtime.server.openai.completions.route import completions
from mlxbuild.runtime.server.openai.embeddings.route import embeddings
from mlxbuild.runtime.server.openai.models import model, models
from mlxbuild.runtime.server.openai.responses.route import responses
from mlxbuild.runtime.server.openai.responses.stored_routes import forget_response, input_items, stored_response
from mlxbuild.runtime.server.responses.schemas import EVENT, fields
from mlxbuild.runtime.server.routing.reply import EVENTS, JSON, success
from mlxbuild.runtime.server.routing.route import PathParameter, Route

_ASKING = frozenset({404, 500})
"""The statuses of errors of a request that asks a model."""
_STORED = "/v1/responses/{response_id}"
_COMPLETION = fields("id", "object", "created", "model", "choices", "usage")
_EMBEDDINGS = fields("object", "data", "model", "usage")
_RESPONSE = fields("id", "object", "created_at", "model", "status", "output", "usage")
_DELETED = fields("id", "object", "deleted")
_PAGE = fields("object", "data", "has_more")
_RESPONSE_ID = {"response_id": PathParameter("The id of the response.")}
_MODEL = {"model": PathParameter("The model's name; slashes need no escaping.", has_slashes=True)}

ROUTES = (
    Route(
        "POST",
        "/v1/chat/completions",
        chat_completions,
        "Answer a conversation",
        success((JSON, _COMPLETION), (EVENTS, EVENT)),
        _ASKING,
    ),
    Route(
        "POST",
        "/v1/completions",
        completions,
        "Continue prompts",
        success((JSON, _COMPLETION), (EVENTS, EVENT)),
        _ASKING,
    ),
    Route("POST", "/v1/embeddings", embeddings, "Embed texts", success((JSON, _EMBEDDINGS)), _ASKING),
    Route(
        "POST",
        "/v1/responses",
        responses,
        "Answer a conversation, item by item",
        success((JSON, _RESPONSE), (EVENTS, EVENT)),
        _ASKING,
    ),
    Route(
        "GET",
        _STORED,
        stored_response,
        "Show a stored response",
        success((JSON, _RESPONSE)),
        frozenset({404}),
        _RESPONSE_ID,
    ),
    Route(
        "DELETE",
        _STORED,
        forget_response,
        "Delete a stored response",
        success((JSON, _DELETED)),
        frozenset({404}),
        _RESPONSE_ID,
    ),
    Route(
        "GET",
        f"{_STORED}/input_items",
        input_items,
        "List the input items of a response",
        success((JSON, _PAGE)),
        frozenset({404}),
        _RESPONSE_ID,
    ),
    Route("GET", "/v1/models", models, "List the models", success((JSON, fields("data"))), frozenset({500})),
    Route(
        "GET",
        "/v1/models/{model}",
        model,
        "Show one model",
        success((JSON, fields("id"))),
        _ASKING,
        _MODEL,
    ),
)
