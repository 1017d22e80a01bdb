"""The body of an embedding request, its conversion to a request to the model, and the response."""

from __future__ import annotations

import base64
import struct
from typing import Annotated, Any, Literal

from pydantic import Field

from mlxbuild.runtime.protocol.events import Embeddings
from mlxbuild.runtime.protocol.requests import EmbeddingRequest
from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.openai.texts import Texts, each_of


class EmbeddingBody(RequestBody):
    """`POST /v1/embeddings`."""

    model: Annotated[str, Field(min_length=1)]
    input: Texts
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
    """Accepted, and ignored."""
    truncate: bool | None = None
    """An extension: cut inputs that are longer than the context, instead of refusing them."""
    keep_alive: float | str | None = None


def embedding_request(body: EmbeddingBody) -> EmbeddingRequest:
    """The request to the model."""
    return EmbeddingRequest(tuple(each_of(body.input)), dimensions=body.dimensions, truncates=bool(body.truncate))


def embedding_reply(body: EmbeddingBody, embeddings: Embeddings) -> dict[str, Any]:
    """The vectors, as lists or as little-endian float32 in base64."""
    as_text = body.encoding_format == "base64"
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if as_text else list(vector)}
            for index, vector in enumerate(embeddings.vectors)
        ],
        "model": body.model,
        "usage": {"prompt_tokens": embeddings.prompt_tokens, "total_tokens": embeddings.prompt_tokens},
    }


def _packed(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
