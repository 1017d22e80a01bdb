"""Several answers of one model at the same time, told as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from mlxbuild.runtime.protocol.events import Chunk, Progress
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest
from mlxbuild.runtime.server.inference import AskedModel

_AHEAD = 64
"""How many events may wait to be read."""
Told = tuple[int, Progress | Chunk]


async def answers_of(model: AskedModel, questions: Sequence[ChatRequest | CompletionRequest]) -> AsyncGenerator[Told]:
    """The events of every question, with the question's number. Close it (`contextlib.aclosing`) to cancel them all.

    Raises:
        MlxbuildError: one of them is refused, or fails; the others are cancelled.
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
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever reads the answers has to hear of it
        await told.put(error)
    else:
        await told.put(None)
