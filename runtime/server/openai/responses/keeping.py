"""What a server keeps for responses, and for whom: made when it is first needed, and shared by all requests."""

from __future__ import annotations

from typing import Any

from sanic import Request

from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.openai.responses.sealed_reasoning import ReasoningSeal
from mlxbuild.runtime.server.openai.responses.stored_responses import StoredResponses


def stored_responses(request: Request) -> StoredResponses:
    """The responses of the server that a request came to."""
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
    """The seal of the server's home."""
    context: Any = request.app.ctx
    if not hasattr(context, "reasoning_seal"):
        context.reasoning_seal = ReasoningSeal(application_of(request).home)
    seal: ReasoningSeal = context.reasoning_seal
    return seal


def owner_of(request: Request) -> str:
    """Whose responses a request may ask for: those of its API key's name; of a server without keys, anybody's."""
    owner: str = getattr(request.ctx, "caller", "")
    return owner
