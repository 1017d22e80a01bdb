"""Streams several answers of one model concurrently."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from mlxbuild.runtime.protocol.events import Chunk, Progress
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest
from mlxbuild.runtime.server.inference.asked_model import AskedModel

_AHEAD = 64
"""The maximum number of unread events."""
Told = tuple[int, Progress | Chunk]


async def answers_of(model: AskedModel, questions: Sequence[ChatRequest | CompletionRequest]) -> AsyncGenerator[Told]:
    """The events of all requests, each with its request's index. Close it (`contextlib.aclosing`) to cancel them all.

    Raises:
        MlxbuildError: one request is refused, or fails; the others are cancelled.
    """
    if len(questions) == 1:
        async with contextlib.aclosing(model.answer(questions[0])) as only:
            async for event in only:
                yield 0, event
        return
    told: asyncio.Queue[Told | Exception | None] = asyncio.Queue(_AHEAD)
    tasks = [asyncio.create_task(_tell(model, number, question, told)) for number, question in enumerate(questions)]
    try:
        running = len(tasks)
        while running:
            match await told.get():
                case None:
                    running -= 1
                case Exception() as error:
                    raise error
                case numbered:
                    yield numbered
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(
    model: AskedModel,
    number: int,
    question: ChatRequest | CompletionRequest,
    told: asyncio.Queue[Told | Exception | None],
) -> None:
    try:
        async with contextlib.aclosing(model.answer(question)) as events:
            async for event in events:
                await told.put((number, event))
    except Exception as error:  # noqa: BLE001 - any error is raised by the reader of the answers
        await told.put(error)
    else:
        await told.put(None)
