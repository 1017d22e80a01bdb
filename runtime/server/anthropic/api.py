"""Anthropic's API as a whole; it shares paths with OpenAI's, where its clients are told by a header."""

from __future__ import annotations

from mlxbuild.runtime.server.anthropic.routes import ROUTES
from mlxbuild.runtime.server.anthropic.wire_format import WIRE_FORMAT
from mlxbuild.runtime.server.request_id import ID_HEADER
from mlxbuild.runtime.server.routing.api import Api

API = Api(
    "Anthropic",
    ("/v1/messages",),
    WIRE_FORMAT,
    ROUTES,
    client_header="anthropic-version",
    shared_prefix="/v1",
    id_headers=(ID_HEADER, "request-id"),
)
