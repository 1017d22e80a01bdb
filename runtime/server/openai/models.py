"""The routes `GET /v1/models` and `GET /v1/models/{model}`."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

from sanic import Request
from sanic.response import HTTPResponse, json

from mlxbuild.registry.core.reference import Reference
from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.models.catalogue import ListedModel, describe, list_models
from mlxbuild.runtime.server.models.names import find_model
from mlxbuild.runtime.server.openai.places import tell_places

_NOBODY = "library"
"""The owner of models without a namespace, by Ollama's name."""


async def models(request: Request) -> HTTPResponse:
    """List all models, the newest first."""
    application = application_of(request)
    listed = await asyncio.to_thread(list_models, application.store)
    longest = application.settings.context_length
    data = [
        _model(row.name, Reference.parse(row.name), row.model, longest) | {"aliases": list(row.aliases)}
        for row in listed
    ]
    return json({"object": "list", "data": data})


async def model(request: Request, model: str) -> HTTPResponse:
    """Show one model, by any name that requests accept; it may contain slashes."""
    tell_places(request, prompt="model")
    application = application_of(request)
    store, longest = application.store, application.settings.context_length
    name = unquote(model)
    reference, digest = find_model(store, name)
    described = await asyncio.to_thread(describe, store, digest)
    return json(_model(name, reference, described, longest))


def _model(name: str, reference: Reference, described: ListedModel, longest: int | None) -> dict[str, Any]:
    """A model in OpenAI's format, with the context length under the names of vLLM, LM Studio and OpenRouter."""
    namespace, _, _ = reference.repository.rpartition("/")
    created = int(described.modified.timestamp())
    told = {"id": name, "object": "model", "created": created, "owned_by": namespace or _NOBODY}
    context = described.context_for_requests(longest)
    return told if context is None else told | {"max_model_len": context, "context_length": context}
