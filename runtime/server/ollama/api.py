"""Ollama's API as a whole: all of its routes."""

from __future__ import annotations

from sanic import Blueprint

from mlxbuild.runtime.server.ollama import (
    blobs,
    chat,
    create,
    embeddings,
    generate,
    models,
    residents,
    show,
    small_routes,
    transfers,
)
from mlxbuild.runtime.server.ollama.operations import OPERATIONS
from mlxbuild.runtime.server.responses.native_format import NATIVE_FORMAT
from mlxbuild.runtime.server.routing.api import Api

_GROUPS = (small_routes, generate, chat, embeddings, models, show, residents, transfers, create, blobs)


def _routes() -> Blueprint:
    blueprint = Blueprint("native")
    for group in _GROUPS:
        group.add_to(blueprint)
    return blueprint


API = Api(("",), NATIVE_FORMAT, _routes, "Native", OPERATIONS)
