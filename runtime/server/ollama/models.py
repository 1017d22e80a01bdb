"""`/api/tags`, `/api/copy` and `/api/delete`: list, add and delete names in the store."""

from __future__ import annotations

import asyncio
from typing import Any

from sanic import Request
from sanic.response import HTTPResponse, empty

from mlxbuild.registry.artifact.versions import TagMove, set_tags
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.server.application import Application, application_of
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.logger import log
from mlxbuild.runtime.server.models.catalogue import ListedModel, Listing, list_models
from mlxbuild.runtime.server.models.names import display_name, find_model, parse_name
from mlxbuild.runtime.server.ollama.body import ModelBody, NativeBody
from mlxbuild.runtime.server.ollama.failures import names_told
from mlxbuild.runtime.server.ollama.inference import json_answer


class CopyBody(NativeBody):
    """The body of `POST /api/copy`."""

    source: str = ""
    destination: str = ""


async def tags(request: Request) -> HTTPResponse:
    """List the models in the store."""
    listed = await asyncio.to_thread(list_models, application_of(request).store)
    return json_answer({"models": [_entry(row) for row in listed]})


def _entry(row: Listing) -> dict[str, Any]:
    shown, model = display_name(row.name), row.model
    return {
        "name": shown,
        "model": shown,
        "modified_at": model.modified.isoformat(),
        "size": model.size_bytes,
        "digest": model.artifact.digest.hex,
        "details": details(model) | {"aliases": [display_name(name) for name in row.aliases]},
        "capabilities": list(model.capabilities),
    }


def details(model: ListedModel) -> dict[str, Any]:
    """The `details` of a model."""
    known = {
        "context_length": model.context_length,
        "embedding_length": model.config.get("hidden_size"),
    }
    return {
        "parent_model": "",
        "format": "safetensors",
        "family": model.family,
        "families": [model.family] if model.family else [],
        "parameter_size": model.parameters,
        "quantization_level": model.quantization,
    } | {key: value for key, value in known.items() if value}


async def copy(request: Request, body: CopyBody) -> HTTPResponse:
    """Give a model another name."""
    application = application_of(request)
    source, destination = body.source.strip(), body.destination.strip()
    for word, name in (("source", source), ("destination", destination)):
        with names_told(name, malformed=f'{word} "{name}" is invalid'):
            parse_name(name)
    target = parse_name(destination)
    if target.digest is not None:
        raise InvalidReference(f'destination "{destination}" is invalid', hint="a name has no digest")
    with names_told(source, not_found=f'model "{source}" not found'):
        await asyncio.to_thread(_give_name, application, source, target)
    return empty(200)


def _give_name(application: Application, source: str, target: Reference) -> None:
    store = application.store
    _, digest = find_model(store, source)
    set_tags(store, {target.store_name: digest}, _log_move)


def _log_move(move: TagMove) -> None:
    log.warning("version-tag-moves", name=", ".join(move.names), before=str(move.before), after=str(move.after))


async def delete(request: Request, body: ModelBody) -> HTTPResponse:
    """Delete a name."""
    name = body.named
    if not name:
        raise InvalidRequest("model is required")
    with names_told(name, malformed=f'name "{name}" is invalid'):
        await asyncio.to_thread(_take_name, application_of(request), name)
    return empty(200)


def _take_name(application: Application, name: str) -> None:
    reference, _ = find_model(application.store, name)
    if reference.digest is not None:
        raise UnknownReference(f"model '{name}' not found", hint="names are deleted, not digests")
    application.store.tags.remove(reference.store_name)
