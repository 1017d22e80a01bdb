"""The server's response store and reasoning key, created on first use and shared by all requests."""

from __future__ import annotations

from typing import Any

from sanic import Request

from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.openai.responses.sealed_reasoning import ReasoningSeal
from mlxbuild.runtime.server.openai.responses.stored_responses import StoredResponses


def stored_responses(request: Request) -> StoredResponses:
    """The stored responses of the server that received a request."""
    context: Any = request.app.ctx
    if not hasattr(context, "stored_responses"):
        settings = application_of(request).settings
        context.stored_responses = StoredResponses(
            most=settings.stored_responses,
            most_bytes=settings.stored_responses_bytes,
            seconds=settings.stored_responses_seconds,
        )
    stored: StoredResponses = context.stored_responses
    return stored


def reasoning_seal(request: Request) -> ReasoningSeal:
    """The encryption of reasoning with the key of the server's home."""
    context: Any = request.app.ctx
    if not hasattr(context, "reasoning_seal"):
        context.reasoning_seal = ReasoningSeal(application_of(request).home)
    seal: ReasoningSeal = context.reasoning_seal
    return seal


def owner_of(request: Request) -> str:
    """The owner of the responses that a request may read: the name of its API key; empty on a server without keys."""
    owner: str = getattr(request.ctx, "caller", "")
    return owner
