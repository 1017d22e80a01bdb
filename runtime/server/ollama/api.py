"""Ollama's API as a whole; it answers below every path that no other API has."""

from __future__ import annotations

from mlxbuild.runtime.server.ollama.routes import ROUTES
from mlxbuild.runtime.server.responses.native_format import NATIVE_FORMAT
from mlxbuild.runtime.server.routing.api import Api

API = Api("Native", ("",), NATIVE_FORMAT, ROUTES)
