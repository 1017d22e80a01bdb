"""All routes of Anthropic's API."""

from __future__ import annotations

from mlxbuild.runtime.server.anthropic.messages import count_tokens, messages
from mlxbuild.runtime.server.anthropic.models import model, models
from mlxbuild.runtime.server.responses.schemas import EVENT, fields
from mlxbuild.runtime.server.routing.reply import EVENTS, JSON, success
from mlxbuild.runtime.server.routing.route import PathParameter, Route

_ASKING = frozenset({404, 500})
"""The statuses of errors of a request that asks a model."""
_MESSAGE = fields("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage")
_MODEL = {"model": PathParameter("The model's name; slashes need no escaping.", has_slashes=True)}

ROUTES = (
    Route(
        "POST",
        "/v1/messages",
        messages,
        "Answer a conversation",
        success((JSON, _MESSAGE), (EVENTS, EVENT)),
        _ASKING,
    ),
    Route(
        "POST",
        "/v1/messages/count_tokens",
        count_tokens,
        "Count the tokens of a conversation",
        success((JSON, fields("input_tokens"))),
        _ASKING,
    ),
    Route(
        "GET",
        "/v1/models",
        models,
        "List the models",
        success((JSON, fields("data", "has_more", "first_id", "last_id"))),
        frozenset({500}),
    ),
    Route(
        "GET",
        "/v1/models/{model}",
        model,
        "Show one model",
        success((JSON, fields("type", "id", "display_name", "created_at"))),
        _ASKING,
        _MODEL,
    ),
)
