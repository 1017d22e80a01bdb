"""Code shared by the routes of OpenAI's API: finding the model, checking its capabilities, keeping streams alive."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from sanic import Request

from mlxbuild.runtime.protocol.events import Progress
from mlxbuild.runtime.protocol.requests import ChatRequest
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.runtime.server.inference.asked_model import AskedModel, asked_model
from mlxbuild.runtime.server.inference.capabilities import require
from mlxbuild.runtime.server.responses.streams import AnswerStream


def model_of(request: Request, name: str, keep_alive: float | str | None) -> AbstractAsyncContextManager[AskedModel]:
    """The model of a request, as an async context manager."""
    return asked_model(request, name, None if keep_alive is None else KeepAlive.parse(keep_alive))


def check_abilities(model: AskedModel, name: str, question: ChatRequest, thinking_field: str) -> None:
    """Require that the model can answer conversations, and think if that is requested.

    Raises:
        NotSupported: the model cannot.
    """
    require(model, name, "completion", called="chat")
    if question.think:
        require(model, name, "thinking", where=thinking_field)


def fingerprint(model: AskedModel) -> dict[str, Any]:
    """The `system_fingerprint`: the start of the artifact's digest."""
    return {"system_fingerprint": f"fp_{model.lease.digest.hex[:12]}"}


async def tell_progress(stream: AnswerStream, progress: Progress) -> None:
    """Send a comment that keeps the connection alive while a long prompt is prefilled.

    None is sent before prefill has started, as until then an error can still have its own status.
    """
    if progress.done_tokens:
        await stream.send(b": %d of %d prompt tokens\n\n" % (progress.done_tokens, progress.total_tokens))
