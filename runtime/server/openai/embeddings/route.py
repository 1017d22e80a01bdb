"""The route `POST /v1/embeddings`."""

from __future__ import annotations

from sanic import Request
from sanic.response import HTTPResponse, json

from mlxbuild.runtime.server.openai.embeddings.body import EmbeddingBody, embedding_reply, embedding_request
from mlxbuild.runtime.server.openai.inference import model_of
from mlxbuild.runtime.server.openai.places import tell_places


async def embeddings(request: Request, body: EmbeddingBody) -> HTTPResponse:
    """Compute the embeddings of texts."""
    tell_places(request, prompt="input")
    async with model_of(request, body.model, body.keep_alive) as model:
        return json(embedding_reply(body, await model.embed(embedding_request(body))))
