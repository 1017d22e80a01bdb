"""Sends requests to a model for all APIs: finds the model, has it loaded, and updates the metrics."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace

from sanic import Request

from mlxbuild.runtime.protocol.events import Chunk, Embeddings, Progress, Prompt
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest, PromptRequest
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.runtime.residency.lease import Lease
from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.inference.leading_whitespace import LeadingWhitespace
from mlxbuild.runtime.server.models.names import find_model
from mlxbuild.runtime.server.observability.metrics import Metrics

_LOADED_AT_ONCE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class AskedModel:
    """A loaded model that a request uses."""

    name: str
    """The model's name in the store."""
    lease: Lease
    _metrics: Metrics
    _context_length: int | None
    """The context length of requests that set none."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The model's capabilities by Ollama's names."""
        return self.lease.runner.loaded.capabilities

    async def answer(self, question: ChatRequest | CompletionRequest) -> AsyncGenerator[Progress | Chunk, None]:
        """Stream an answer; its last chunk carries the finish reason.

        Close the iterator (`contextlib.aclosing`) to cancel.

        Raises:
            MlxbuildError: the request is refused, or fails.
        """
        asked = time.perf_counter()
        question = self._bounded(question)
        has_begun = False
        opening = LeadingWhitespace() if isinstance(question, ChatRequest) else None
        async with contextlib.aclosing(self.lease.answer(question)) as events:
            async for event in events:
                if isinstance(event, Chunk):
                    if opening is not None:
                        event = opening.passed(event)
                    if not has_begun:
                        has_begun = True
                        self._metrics.began(self.name, time.perf_counter() - asked)
                    if event.finish is not None:
                        self._metrics.answered(self.name, event.finish)
                if isinstance(event, Chunk | Progress):
                    yield event

    def _bounded(self, question: ChatRequest | CompletionRequest) -> ChatRequest | CompletionRequest:
        if question.context_tokens is not None or self._context_length is None:
            return question
        return replace(question, context_tokens=self._context_length)

    async def embed(self, question: EmbeddingRequest) -> Embeddings:
        """Compute the embeddings of texts.

        Raises:
            MlxbuildError: the request is refused, or fails.
        """
        embeddings = await self.lease.embed(question)
        self._metrics.embedded(self.name, embeddings.prompt_tokens)
        return embeddings

    async def prompt(self, question: PromptRequest) -> Prompt:
        """The prompt that a request would give the model.

        Raises:
            MlxbuildError: the request is refused.
        """
        return await self.lease.prompt(question)


@contextlib.asynccontextmanager
async def asked_model(request: Request, name: str, keep_alive: KeepAlive | None = None) -> AsyncIterator[AskedModel]:
    """The model of a request by its name, kept in memory until the end of the `async with` statement.

    Raises:
        InvalidReference, UnknownReference: there is no such model.
        ServerBusy: too many requests wait for models to load.
        MlxbuildError: the model is not admitted, or cannot be loaded.
    """
    application = application_of(request)
    reference, _ = find_model(application.store, name)
    metrics: Metrics = request.app.ctx.metrics
    request.ctx.model = str(reference)
    async with application.residency.lease(str(reference), keep_alive=keep_alive) as lease:
        waited_seconds = lease.load_seconds
        if waited_seconds > _LOADED_AT_ONCE_SECONDS:
            metrics.loaded(str(reference), waited_seconds)
        try:
            yield AskedModel(str(reference), lease, metrics, application.settings.context_length)
        finally:
            if lease.load_seconds > waited_seconds:  # the process had died, and the model was loaded again
                metrics.loaded(str(reference), lease.load_seconds - waited_seconds)
