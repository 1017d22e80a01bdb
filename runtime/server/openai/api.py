"""OpenAI's API as a whole: its routes and its wire format."""

from __future__ import annotations

from sanic import Blueprint

from mlxbuild.runtime.server.openai.chat.route import chat_completions
from mlxbuild.runtime.server.openai.completions.route import completions
from mlxbuild.runtime.server.openai.embeddings.route import embeddings
from mlxbuild.runtime.server.openai.models import model, models
from mlxbuild.runtime.server.openai.operations import OPERATIONS
from mlxbuild.runtime.server.openai.responses.route import responses
from mlxbuild.runtime.server.openai.responses.stored_routes import forget_response, input_items, stored_response
from mlxbuild.runtime.server.openai.wire_format import WIRE_FORMAT
from mlxbuild.runtime.server.routing.api import Api, declare


def _routes() -> Blueprint:
    blueprint = Blueprint("openai")
    declare(blueprint, "POST", "/v1/chat/completions", chat_completions)
    declare(blueprint, "POST", "/v1/completions", completions)
    declare(blueprint, "POST", "/v1/embeddings", embeddings)
    declare(blueprint, "POST", "/v1/responses", responses)
    declare(blueprint, "GET HEAD", "/v1/responses/<response_id>", stored_response)
    declare(blueprint, "DELETE", "/v1/responses/<response_id>", forget_response)
    declare(blueprint, "GET HEAD", "/v1/responses/<response_id>/input_items", input_items)
    declare(blueprint, "GET HEAD", "/v1/models", models)
    declare(blueprint, "GET HEAD", "/v1/models/<name:path>", model)
    return blueprint


API = Api(("/v1",), WIRE_FORMAT, _routes, "OpenAI", OPERATIONS)
