"""OpenAI's API as a whole."""

from __future__ import annotations

from mlxbuild.runtime.server.openai.routes import ROUTES
from mlxbuild.runtime.server.openai.wire_format import WIRE_FORMAT
from mlxbuild.runtime.server.routing.api import Api

API = Api("OpenAI", ("/v1",), WIRE_FORMAT, ROUTES)
