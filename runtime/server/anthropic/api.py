"""Anthropic's API as a whole: its routes, and its manners."""

from __future__ import annotations

from sanic import Blueprint

from runtime.server.anthropic.manners import MANNERS
from runtime.server.anthropic.operations import OPERATIONS
from runtime.server.anthropic.routes import count_tokens, messages
from runtime.server.api import Api, declare


def _routes() -> Blueprint:
    blueprint = Blueprint("anthropic")
    declare(blueprint, "POST", "/v1/messages", messages)
    declare(blueprint, "POST", "/v1/messages/count_tokens", count_tokens)
    return blueprint


API = Api(("/v1/messages",), MANNERS, _routes, "Anthropic", OPERATIONS)
