"""The use of a loaded model for one request, which is retried once if the model's process had ended unnoticed.

`residency` decides which models are loaded, and `deaths` which may not be loaded for a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from mlxbuild.registry.core.digest import Digest
from mlxbuild.runtime.protocol.events import Embeddings, Event, Prompt
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest, PromptRequest
from mlxbuild.runtime.residency.reservation import MemoryReservation
from mlxbuild.runtime.runner.client import Runner
from mlxbuild.runtime.runner.errors import RunnerDied

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Lease:
    """The use of a loaded model for one request.

    If the process dies before it has sent any event, the request is sent once more, to a newly loaded process. That
    happens once per lease: the next `RunnerDied` is raised.
    """

    def __init__(
        self, place: MemoryReservation, load_seconds: float, take: Callable[[], Awaitable[MemoryReservation]]
    ) -> None:
        """`take` acquires a place with a running process. Whoever creates the lease releases all its places."""
        self.places = [place]
        """The places that this lease has acquired: the last one answers, the processes of earlier ones have died."""
        self.load_seconds = load_seconds
        """Time spent waiting and loading; almost nothing if the model was loaded."""
        self._take = take
        self._renewing = asyncio.Lock()

    @property
    def runner(self) -> Runner:
        """The model's process."""
        runner = self.places[-1].runner
        assert runner is not None
        return runner

    @property
    def digest(self) -> Digest:
        """The digest of the model's artifact."""
        return self.places[-1].digest

    async def answer(self, request: ChatRequest | CompletionRequest) -> AsyncGenerator[Event, None]:
        """Answer as `Runner.answer` does; also raises the errors of loading a model."""
        first, events = await self._ask(lambda runner: _begun(runner.answer(request)))
        async with aclosing(events):
            yield first
            async for event in events:
                yield event

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Embed as `Runner.embed` does; also raises the errors of loading a model."""
        return await self._ask(lambda runner: runner.embed(request))

    async def prompt(self, request: PromptRequest) -> Prompt:
        """Return the prompt as `Runner.prompt` does; also raises the errors of loading a model."""
        return await self._ask(lambda runner: runner.prompt(request))

    async def _ask(self, ask: Callable[[Runner], Awaitable[Result]]) -> Result:
        runner = self.runner
        try:
            return await ask(runner)
        except RunnerDied as death:
            await self._renew(runner, death)
        return await ask(self.runner)

    async def _renew(self, dead: Runner, death: RunnerDied) -> None:
        """Replace the dead process with a new one, which all requests under this lease share."""
        async with self._renewing:
            if self.runner is not dead:
                return
            if len(self.places) > 1:
                raise death
            log.warning("%s is reloaded for requests that it had not begun to answer: %s", self.places[-1].name, death)
            began = time.perf_counter()
            self.places.append(await self._take())
            self.load_seconds += time.perf_counter() - began


async def _begun(events: AsyncGenerator[Event, None]) -> tuple[Event, AsyncGenerator[Event, None]]:
    return await anext(events), events
