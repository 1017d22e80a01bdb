"""`/v1/models`: which models there are."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

from sanic import Request
from sanic.response import HTTPResponse, json

from registry.reference import Reference
from runtime.server.anthropic.models import VERSION_HEADER, model_reply, models_reply
from runtime.server.application import application_of
from runtime.server.catalogue import ListedModel, describe, list_models
from runtime.server.names import find_model

_NOBODY = "library"
"""The owner of models without a namespace, by Ollama's word."""


async def models(request: Request) -> HTTPResponse:
    """All models, those that came last first; in Anthropic's form for its clients, which ask by the same path."""
    listed = await asyncio.to_thread(list_models, application_of(request).store)
    if VERSION_HEADER in request.headers:
        return json(models_reply(listed))
    return json({"object": "list", "data": [_model(name, Reference.parse(name), each) for name, each in listed]})


async def model(request: Request, name: str) -> HTTPResponse:
    """One model, by any name that requests take; it may have slashes."""
    store = application_of(request).store
    name = unquote(name)
    reference, digest = find_model(store, name)
    described = await asyncio.to_thread(describe, store, digest)
    if VERSION_HEADER in request.headers:
        return json(model_reply(name, described))
    return json(_model(name, reference, described))


def _model(name: str, reference: Reference, described: ListedModel) -> dict[str, Any]:
    namespace, _, _ = reference.repository.rpartition("/")
    created = int(described.modified.timestamp())
    return {"id": name, "object": "model", "created": created, "owned_by": namespace or _NOBODY}
