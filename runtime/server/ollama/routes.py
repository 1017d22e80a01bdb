"""All routes of the native API."""

from __future__ import annotations

from mlxbuild.runtime.server.ollama.blobs import check_blob, upload_blob
from mlxbuild.runtime.server.ollama.chat import chat
from mlxbuild.runtime.server.ollama.create import create
from mlxbuild.runtime.server.ollama.embeddings import embed, embed_prompt
from mlxbuild.runtime.server.ollama.generate import generate
from mlxbuild.runtime.server.ollama.models import copy, delete, tags
from mlxbuild.runtime.server.ollama.residents import ps, stop
from mlxbuild.runtime.server.ollama.show import show
from mlxbuild.runtime.server.ollama.small_routes import liveness, status, version
from mlxbuild.runtime.server.ollama.transfers import pull_model, push_model
from mlxbuild.runtime.server.responses.schemas import LINE, fields
from mlxbuild.runtime.server.routing.reply import JSON, LINES, TEXT, Reply, success
from mlxbuild.runtime.server.routing.route import PathParameter, Route

_NAMING = frozenset({404, 500})
"""The statuses of errors of a request that names a model."""
_WRITING = _NAMING | {507}
"""The statuses of errors of a request that names a model and writes to the store, which 507 says is full."""
_MOVING = _WRITING | {502}
"""The statuses of errors of a request that may also reach out to other servers."""
_ANSWER = success((JSON, fields("model", "created_at")), (LINES, LINE))
_PROGRESS = success((JSON, fields("status")), (LINES, LINE))
_EMPTY = success()
_DIGEST = {"digest": PathParameter("`sha256:`, and 64 hexadecimal digits.")}

ROUTES = (
    Route(
        "GET",
        "/",
        liveness,
        "Check that the server is running",
        success((TEXT, {"type": "string"})),
        needs_key=False,
        answers_while_stopping=True,
    ),
    Route("GET", "/api/version", version, "Show the version", success((JSON, fields("version"))), needs_key=False),
    Route("GET", "/api/status", status, "Show that cloud models are disabled", success((JSON, fields("cloud")))),
    Route("POST", "/api/generate", generate, "Answer a prompt", _ANSWER, _NAMING),
    Route("POST", "/api/chat", chat, "Answer a conversation", _ANSWER, _NAMING),
    Route("POST", "/api/embed", embed, "Embed texts", success((JSON, fields("embeddings"))), _NAMING),
    Route("POST", "/api/embeddings", embed_prompt, "Embed one text", success((JSON, fields("embedding"))), _NAMING),
    Route("GET", "/api/tags", tags, "List the models", success((JSON, fields("models"))), frozenset({500})),
    Route("POST", "/api/show", show, "Show one model", success((JSON, fields("details", "capabilities"))), _NAMING),
    Route("POST", "/api/copy", copy, "Give a model another name", _EMPTY, _WRITING),
    Route("DELETE", "/api/delete", delete, "Delete a name", _EMPTY, _WRITING),
    Route("POST", "/api/pull", pull_model, "Pull a model from a registry", _PROGRESS, _MOVING),
    Route("POST", "/api/push", push_model, "Push a model to a registry", _PROGRESS, _MOVING),
    Route("POST", "/api/create", create, "Build a model", _PROGRESS, _MOVING),
    Route(
        "POST",
        "/api/blobs/{digest}",
        upload_blob,
        "Upload a blob",
        {**_EMPTY, 201: Reply()},
        frozenset({500, 507}),
        _DIGEST,
        reads_bytes=True,
    ),
    Route(
        "HEAD",
        "/api/blobs/{digest}",
        check_blob,
        "Check whether a blob exists",
        _EMPTY,
        frozenset({404}),
        _DIGEST,
    ),
    Route("GET", "/api/ps", ps, "List the models in memory", success((JSON, fields("models")))),
    Route("POST", "/api/stop", stop, "Unload a model from memory", success((JSON, {"type": "object"})), _NAMING),
)
