"""What every route of OpenAI's API does with a body before its model is asked, and with a stream while it is silent."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from sanic import Request

from mlxbuild.runtime.protocol.events import Progress
from mlxbuild.runtime.protocol.requests import ChatRequest
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.runtime.server.capabilities import require
from mlxbuild.runtime.server.inference import AskedModel, asked_model
from mlxbuild.runtime.server.streams import AnswerStream


def model_of(request: Request, name: str, keep_alive: float | str | None) -> AbstractAsyncContextManager[AskedModel]:
    """The model that a body names."""
    return asked_model(request, name, None if keep_alive is None else KeepAlive.parse(keep_alive))


def check_abilities(model: AskedModel, name: str, question: ChatRequest, thinking_field: str) -> None:
    """Whether the model can answer conversations, and think if it is to.

    Raises:
        NotSupported: it cannot.
    """
    require(model, name, "completion", called="chat")
    if question.think:
        require(model, name, "thinking", where=thinking_field)


def fingerprint(model: AskedModel) -> dict[str, Any]:
    """Which artifact answers: the beginning of its digest."""
    return {"system_fingerprint": f"fp_{model.lease.digest.hex[:12]}"}


async def tell_progress(stream: AnswerStream, progress: Progress) -> None:
    """Write a comment, which keeps clients and proxies waiting while a long prompt is read.

    Before anything is read there is none: until then an error can still have its own status.
    """
    if progress.done_tokens:
        await stream.send(b": %d of %d prompt tokens\n\n" % (progress.done_tokens, progress.total_tokens))
