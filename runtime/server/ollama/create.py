"""`POST /api/create`: builds a model from Ollama's fields or from a ModelSpec, by `application.Builder`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from threading import Lock
from typing import Any

from pydantic import Field
from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.registry.artifact.files import unsafe
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.runtime.server.application import Application, BuildOrder, BuildStatus, application_of
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported
from mlxbuild.runtime.server.long_task import LongTask
from mlxbuild.runtime.server.models.names import parse_name
from mlxbuild.runtime.server.ollama.blobs import blob_digest
from mlxbuild.runtime.server.ollama.body import ModelBody
from mlxbuild.runtime.server.ollama.failures import names_told
from mlxbuild.runtime.server.ollama.messages import MessageBody
from mlxbuild.runtime.server.ollama.progress import tell_progress


class CreateBody(ModelBody):
    """The body of `POST /api/create`; `modelspec` is our extension, and replaces all other fields except `files`."""

    stream: bool = True
    modelspec: str | dict[str, Any] | None = None
    base: str = Field("", alias="from")
    files: dict[str, str] = Field(default_factory=dict)
    adapters: dict[str, str] = Field(default_factory=dict)
    draft_files: dict[str, str] = Field(default_factory=dict)
    template: str = ""
    license: str | list[str] = ""
    system: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    messages: list[MessageBody] = Field(default_factory=list)
    quantize: str = ""
    quantization: str = ""
    draft_quantize: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    info: dict[str, Any] = Field(default_factory=dict)


_NOT_FIELDS = {"model", "name", "stream", "modelspec", "files", "adapters", "base", "remote_host"}


async def create(request: Request, body: CreateBody) -> HTTPResponse | None:
    """Build a model."""
    application = application_of(request)
    order = _order(body, application)
    news = _Statuses()
    work = LongTask(request.app.ctx.task_threads, lambda: application.builder.build(order, news.add), news.told)
    async with work, contextlib.aclosing(work.progress()) as progress:
        return await tell_progress(request, progress, streams=body.stream)


class _Statuses:
    """Collects the status lines of a build until they are read; of a measured stage, only the newest."""

    def __init__(self) -> None:
        self._statuses: dict[object, BuildStatus] = {}
        self._lock = Lock()

    def add(self, status: BuildStatus) -> None:
        """Add a status line; called by the build's thread."""
        with self._lock:
            self._statuses[status.stage or object()] = status

    def told(self) -> list[dict[str, Any]]:
        """Take the new lines. Clients show those with a digest as a bar, which they tell apart by the digest."""
        with self._lock:
            new, self._statuses = self._statuses, {}
        return [_line(status) for status in new.values()]


def _line(status: BuildStatus) -> dict[str, Any]:
    if status.stage is None:
        return {"status": status.text}
    measured = {"total": status.total_bytes, "completed": status.completed_bytes}
    return {"status": status.text, "digest": f"sha256:{status.stage}", **measured}


def _order(body: CreateBody, application: Application) -> BuildOrder:
    if body.remote_host:
        raise NotSupported("models cannot be created from those of other servers")
    name = _name(body)
    spec = body.modelspec if isinstance(body.modelspec, str | None) else json.dumps(body.modelspec)
    if spec is None:
        if name is None:
            raise InvalidReference("invalid model name", hint="the name is empty")
        if not body.base and not body.files:
            raise InvalidRequest("neither 'from' or 'files' was specified", hint="or send a `modelspec`")
        if body.base.startswith((".", "/", "~")) or body.base.lower().endswith(".gguf"):
            raise InvalidRequest(
                f"`{body.base[:80]}` is a file, and the server reads none of those around it",
                where="from",
                hint="send it to /api/blobs and name it in `files`, as `ollama create` does",
            )
    fields = {key: value for key, value in body.model_dump().items() if key not in _NOT_FIELDS and value}
    if any(path.lower().endswith(".gguf") for path in body.adapters):
        raise NotSupported(
            "adapters in GGUF format cannot be merged",
            hint="send the safetensors and the adapter_config.json that it was made of",
        )
    files, adapters = _blobs(application, body.files), _blobs(application, body.adapters)
    return BuildOrder(name, spec, fields | {"from": body.base}, files, adapters)


def _name(body: CreateBody) -> Reference | None:
    if not body.named:
        return None
    with names_told(body.named):
        reference = parse_name(body.named)
        if reference.digest is not None:
            raise InvalidReference("a new model's digest is not known", hint="leave the digest out")
    return reference


def _blobs(application: Application, files: Mapping[str, str]) -> dict[str, Digest]:
    blobs = {}
    for path, written in files.items():
        if (reason := unsafe(path.removeprefix("./"))) is not None:
            raise InvalidRequest("file path must be relative", hint=f"`{path[:80]}` {reason}")
        if path.lower().endswith((".bin", ".pt", ".pth")):
            raise NotSupported(
                f"`{path[:80]}` cannot be built from",
                hint="send a GGUF file, or the safetensors, config.json and tokenizer.json",
            )
        digest = blobs[path] = blob_digest(written)
        if not application.store.has(digest):
            raise InvalidRequest(f'blob "{digest}" not found', hint="send it to /api/blobs first")
    return blobs
