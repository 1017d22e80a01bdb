"""The use of a loaded model for one request, which goes on when the model's process had ended unnoticed.

Which models are loaded, and which may not be loaded for a while: `residency` and `deaths`.
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
from mlxbuild.runtime.residency.place import Place
from mlxbuild.runtime.runner.client import Runner
from mlxbuild.runtime.runner.errors import RunnerDied

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Lease:
    """The use of a loaded model, for one request.

    If the process dies before it has answered anything at all, what was asked is asked once more, of a process that is
    loaded afresh. That happens once in a lease: the next death is told.
    """

    def __init__(self, place: Place, load_seconds: float, take: Callable[[], Awaitable[Place]]) -> None:
        """`take` gives the use of a place whose process lives. All are given back by whoever made the lease."""
        self.places = [place]
        """Those whose use is this lease's: the last one answers, the process of one before it has died."""
        self.load_seconds = load_seconds
        """Waiting and loading; next to nothing when it was there."""
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
        """Of the model's artifact."""
        return self.places[-1].digest

    async def answer(self, request: ChatRequest | CompletionRequest) -> AsyncGenerator[Event, None]:
        """As `Runner.answer`; also raises what loading a model does."""
        first, events = await self._ask(lambda runner: _begun(runner.answer(request)))
        async with aclosing(events):
            yield first
            async for event in events:
                yield event

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """As `Runner.embed`; also raises what loading a model does."""
        return await self._ask(lambda runner: runner.embed(request))

    async def prompt(self, request: PromptRequest) -> Prompt:
        """As `Runner.prompt`; also raises what loading a model does."""
        return await self._ask(lambda runner: runner.prompt(request))

    async def _ask(self, ask: Callable[[Runner], Awaitable[Result]]) -> Result:
        runner = self.runner
        try:
            return await ask(runner)
        except RunnerDied as death:
            await self._renew(runner, death)
        return await ask(self.runner)

    async def _renew(self, dead: Runner, death: RunnerDied) -> None:
        """Have another process than the dead one; all that was asked under this lease shares it."""
        async with self._renewing:
            if self.runner is not dead:
                return
            if len(self.places) > 1:
                raise death
            log.warning("%s is loaded again for what it had not begun to answer: %s", self.places[-1].name, death)
            began = time.perf_counter()
            self.places.append(await self._take())
            self.load_seconds += time.perf_counter() - began


async def _begun(events: AsyncGenerator[Event, None]) -> tuple[Event, AsyncGenerator[Event, None]]:
    return await anext(events), events
