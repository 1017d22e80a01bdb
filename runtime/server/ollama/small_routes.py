"""The routes by which clients detect the server and its version."""

from __future__ import annotations

from sanic import Request
from sanic.response import HTTPResponse, json, text

from mlxbuild.runtime.server.application import application_of

LIVENESS = "Ollama is running"
"""Ollama's exact text, which clients look for."""
COMPATIBLE_VERSION = "0.33.0"
"""The version of Ollama that this API is compatible with; clients enable features by it."""


async def liveness(_request: Request) -> HTTPResponse:
    """Tell that the server is running."""
    return text(LIVENESS)


async def version(request: Request) -> HTTPResponse:
    """Tell the versions of the API and of the server."""
    return json({"version": COMPATIBLE_VERSION, "mlxbuild": application_of(request).version})


async def status(_request: Request) -> HTTPResponse:
    """Tell that there are no cloud models."""
    return json({"cloud": {"disabled": True, "source": "none"}})
