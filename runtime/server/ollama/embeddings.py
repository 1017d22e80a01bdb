"""`POST /api/embed`, and its older form `POST /api/embeddings`."""

from __future__ import annotations

import time
from typing import Any

from pydantic import Field
from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.runtime.protocol.requests import EmbeddingRequest
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.runtime.server.connections.observation import begun_at
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.inference.asked_model import asked_model
from mlxbuild.runtime.server.inference.options import read_options
from mlxbuild.runtime.server.ollama.answers import nanoseconds
from mlxbuild.runtime.server.ollama.body import ModelBody
from mlxbuild.runtime.server.ollama.failures import missing_model, names_told
from mlxbuild.runtime.server.ollama.inference import json_answer


class EmbeddingBody(ModelBody):
    """The fields that both routes share."""

    keep_alive: Any = None
    options: dict[str, Any] = Field(default_factory=dict)

    def stays(self) -> KeepAlive | None:
        """The keep-alive of the request; also validates its options."""
        read_options(self.options)
        return None if self.keep_alive is None else KeepAlive.parse(self.keep_alive)


class EmbedBody(EmbeddingBody):
    """The body of `POST /api/embed`."""

    input: Any = None
    truncate: bool = True
    dimensions: int = 0

    def inputs(self) -> tuple[str, ...]:
        """The texts; a single empty string counts as none."""
        if self.input is None or self.input == "":
            return ()
        texts = self.input if isinstance(self.input, list) else [self.input]
        if not all(isinstance(text, str) for text in texts):
            raise InvalidRequest("invalid input type")
        return tuple(texts)


class EmbeddingsBody(EmbeddingBody):
    """The body of `POST /api/embeddings`."""

    prompt: str = ""


async def embed(request: Request, body: EmbedBody) -> HTTPResponse:
    """Compute the embeddings of texts."""
    if not body.named:
        raise missing_model("not found")
    if body.dimensions < 0:
        raise InvalidRequest("dimensions cannot be negative")
    inputs, stays = body.inputs(), body.stays()
    with names_told(body.named, not_found=_not_found(body.named)):
        async with asked_model(request, body.named, stays) as asked:
            if not inputs:
                return json_answer({"model": body.echoed, "embeddings": []})
            question = EmbeddingRequest(inputs, body.dimensions or None, body.truncate)
            embeddings = await asked.embed(question)
    return json_answer(
        {
            "model": body.echoed,
            "embeddings": embeddings.vectors,
            "total_duration": nanoseconds(time.perf_counter() - begun_at(request)),
            "load_duration": max(1, nanoseconds(asked.lease.load_seconds)),
            "prompt_eval_count": embeddings.prompt_tokens,
        }
    )


async def embed_prompt(request: Request, body: EmbeddingsBody) -> HTTPResponse:
    """Compute the embedding of one text, which is not normalized."""
    if not body.named:
        raise missing_model("model is required")
    stays = body.stays()
    with names_told(body.named, not_found=_not_found(body.named)):
        async with asked_model(request, body.named, stays) as asked:
            if not body.prompt:
                return json_answer({"embedding": []})
            embeddings = await asked.embed(EmbeddingRequest((body.prompt,), normalizes=False))
    return json_answer({"embedding": embeddings.vectors[0]})


def _not_found(name: str) -> str:
    return f'model "{name}" not found, try pulling it first'
