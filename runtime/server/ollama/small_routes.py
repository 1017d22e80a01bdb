"""The routes by which clients detect the server and its version."""

from __future__ import annotations

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, json, text

from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.routing.api import declare

LIVENESS = "Ollama is running"
"""Ollama's exact text, which clients look for."""
COMPATIBLE_VERSION = "0.33.0"
"""The version of Ollama that this API is compatible with; clients enable features by it."""


def add_to(blueprint: Blueprint) -> None:
    """Declare the routes."""
    declare(blueprint, "GET HEAD", "/", _root)
    declare(blueprint, "GET HEAD", "/api/version", _version)
    declare(blueprint, "GET HEAD", "/api/status", _status)


async def _root(_request: Request) -> HTTPResponse:
    return text(LIVENESS)


async def _version(request: Request) -> HTTPResponse:
    return json({"version": COMPATIBLE_VERSION, "mlxbuild": application_of(request).version})


async def _status(_request: Request) -> HTTPResponse:
    return json({"cloud": {"disabled": True, "source": "none"}})
