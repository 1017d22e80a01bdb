"""`GET /api/ps` and our own `POST /api/stop`: list and unload the models in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.residency.draft_models import DraftModel
from mlxbuild.runtime.residency.reservation import Resident
from mlxbuild.runtime.server.application import Application, application_of
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.models.catalogue import describe
from mlxbuild.runtime.server.models.names import display_name, find_model, parse_name
from mlxbuild.runtime.server.ollama.body import ModelBody
from mlxbuild.runtime.server.ollama.failures import names_told
from mlxbuild.runtime.server.ollama.inference import json_answer
from mlxbuild.runtime.server.ollama.models import details

_FOREVER = timedelta(days=292 * 365)
"""How far in the future Ollama puts the expiry of a model that never expires."""


async def ps(request: Request) -> HTTPResponse:
    """List the models in memory."""
    application = application_of(request)
    return json_answer({"models": [_entry(application.store, each) for each in application.residency.resident()]})


def _entry(store: Store, resident: Resident) -> dict[str, Any]:
    name = display_name(resident.name)
    holding = resident.holding
    is_on_gpu = holding.device == "gpu"
    told, disk_bytes = {}, None
    try:
        model = describe(store, resident.digest)
        told, disk_bytes = details(model), model.size_bytes
    except MlxbuildError:  # the artifact was removed from the store, but the model is still in memory
        pass
    return {
        "name": name,
        "model": name,
        "size": resident.size_bytes,
        "digest": resident.digest.hex,
        "details": told,
        "expires_at": (resident.expires_at or datetime.now(UTC) + _FOREVER).astimezone().isoformat(),
        "size_vram": resident.size_bytes if is_on_gpu else 0,
        "size_disk": disk_bytes,
        "memory": {
            "weights": resident.weights_bytes,
            "context": resident.cache_bytes,
            "process": resident.size_bytes - resident.weights_bytes - resident.cache_bytes,
        },
        "context_length": resident.context_length,
        "holding": {
            "device": holding.device,
            "dtype": holding.dtype,
            "dequantized": holding.dequantized,
            "reason": holding.reason,
            "blas": holding.blas,
            "compiled": resident.runner.statistics().engine.is_compiled,
        },
        "draft": None if resident.draft is None else _draft(resident.draft),
        "kv_bits": resident.kv_bits,
        "batched": resident.batched,
        "requests": resident.requests,
        "forever": resident.expires_at is None,
    }


def _draft(draft: DraftModel) -> dict[str, Any]:
    name = display_name(str(draft.reference))
    return {"name": name, "model": name, "digest": draft.digest.hex}


async def stop(request: Request, body: ModelBody) -> HTTPResponse:
    """Unload a model from memory."""
    if not body.named:
        raise InvalidRequest("model is required")
    application = application_of(request)
    with names_told(body.named):
        was_loaded = await application.residency.unload(str(_resident(application, body.named)))
    return json_answer({"model": body.echoed, "unloaded": was_loaded})


def _resident(application: Application, name: str) -> Reference:
    """A reference by digest, as the model may be loaded by another name; by name if it is no longer in the store."""
    try:
        reference, digest = find_model(application.store, name)
    except UnknownReference:
        reference = parse_name(name)
        if all(resident.name != reference.store_name for resident in application.residency.resident()):
            raise
        return reference
    return replace(reference, digest=digest)
