"""The OpenAPI operations of the native API's routes."""

from __future__ import annotations

from collections.abc import Mapping

from mlxbuild.runtime.server.ollama.body import ModelBody
from mlxbuild.runtime.server.ollama.chat import ChatBody
from mlxbuild.runtime.server.ollama.create import CreateBody
from mlxbuild.runtime.server.ollama.embeddings import EmbedBody, EmbeddingsBody
from mlxbuild.runtime.server.ollama.generate import GenerateBody
from mlxbuild.runtime.server.ollama.models import CopyBody
from mlxbuild.runtime.server.ollama.show import ShowBody
from mlxbuild.runtime.server.ollama.transfers import PushBody, TransferBody
from mlxbuild.runtime.server.routing.operation import JSON, LINES, TEXT, Operation, Reply, Schema, answers, fields

_ERROR = fields("error")
_LINES: Schema = {}
_BYTES: Schema = {"type": "string", "format": "binary"}
_PROGRESS = fields("status")
_DIGEST = {"digest": "`sha256:`, and 64 hexadecimal digits."}
_ASKING = (400, 404, 408, 413, 415, 500, 503)
_NAMING = (400, 404, 408, 413, 415, 500)


def _asked(schema: Schema, *, streams: bool = True) -> Mapping[int, Reply]:
    streamed = ((LINES, _LINES),) if streams else ()
    return answers((JSON, schema), *streamed, errors=_ERROR, statuses=_ASKING)


def _named(*contents: tuple[str, Schema]) -> Mapping[int, Reply]:
    return answers(*contents, errors=_ERROR, statuses=_NAMING)


def _moved() -> Mapping[int, Reply]:
    return answers((JSON, _PROGRESS), (LINES, _LINES), errors=_ERROR, statuses=_ASKING)


def _told(schema: Schema, kind: str = JSON) -> Mapping[int, Reply]:
    return {200: Reply({kind: schema})}


OPERATIONS = (
    Operation("GET", "/", "Check that the server is running", _told({"type": "string"}, TEXT)),
    Operation("GET", "/api/version", "Show the version", _told(fields("version"))),
    Operation("GET", "/api/status", "Show that cloud models are disabled", _told(fields("cloud"))),
    Operation("POST", "/api/generate", "Answer a prompt", _asked(fields("model", "created_at")), GenerateBody),
    Operation("POST", "/api/chat", "Answer a conversation", _asked(fields("model", "created_at")), ChatBody),
    Operation("POST", "/api/embed", "Embed texts", _asked(fields("embeddings"), streams=False), EmbedBody),
    Operation(
        "POST",
        "/api/embeddings",
        "Embed one text",
        _asked(fields("embedding"), streams=False),
        EmbeddingsBody,
    ),
    Operation("GET", "/api/tags", "List the models", _told(fields("models"))),
    Operation("POST", "/api/show", "Show one model", _named((JSON, fields("details", "capabilities"))), ShowBody),
    Operation("POST", "/api/copy", "Give a model another name", _named(), CopyBody),
    Operation("DELETE", "/api/delete", "Delete a name", _named(), ModelBody),
    Operation("POST", "/api/pull", "Pull a model from a registry", _moved(), TransferBody),
    Operation("POST", "/api/push", "Push a model to a registry", _moved(), PushBody),
    Operation("POST", "/api/create", "Build a model", _moved(), CreateBody),
    Operation(
        "POST",
        "/api/blobs/{digest}",
        "Upload a blob",
        {**_named(), 201: Reply()},
        _BYTES,
        body_type="application/octet-stream",
        parameters=_DIGEST,
    ),
    Operation(
        "HEAD",
        "/api/blobs/{digest}",
        "Check whether a blob exists",
        {status: Reply() for status in (200, 400, 404)},
        parameters=_DIGEST,
    ),
    Operation("GET", "/api/ps", "List the models in memory", _told(fields("models"))),
    Operation("POST", "/api/stop", "Unload a model from memory", _named((JSON, {"type": "object"})), ModelBody),
)
