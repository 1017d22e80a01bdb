"""A request that is slow to prepare keeps short ones waiting neither while its client waits nor when that has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.protocol.events import Chunk, Event
from mlxbuild.runtime.protocol.requests import AnswerFormat, ChatRequest, CompletionRequest, ToolChoice
from mlxbuild.runtime.runner.client import Runner
from mlxbuild.runtime.runner.thread_pools import may_take_long

HELLO = ({"role": "user", "content": "What is mlxbuild?"},)
QUESTION = ChatRequest(HELLO, think=False)


def slow_schema(number: int, names: int) -> dict[str, Any]:
    """A schema whose names of properties take long to be told apart: 500 longer than is allowed."""
    return {"type": "object", "patternProperties": {f"^{number}p{name}[a-z]*$": {} for name in range(names)}}


async def said(events: AsyncIterator[Event]) -> str:
    return "".join([event.text async for event in events if isinstance(event, Chunk)])


@pytest.mark.timeout(60)
def test_a_short_request_is_answered_beside_many_that_are_slow(loop: asyncio.Runner, runner: Runner) -> None:
    async def asked() -> int:
        slow = [
            asyncio.create_task(said(runner.answer(CompletionRequest("x", format=AnswerFormat(slow_schema(n, 500))))))
            for n in range(30)
        ]
        await asyncio.sleep(0)  # they are asked first
        assert "mlxbuild is" in await said(runner.answer(QUESTION))
        waiting = sum(not task.done() for task in slow)
        for task in slow:
            task.cancel()
        outcomes = await asyncio.gather(*slow, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError | MlxbuildError) for each in outcomes)
        return waiting

    assert loop.run(asked()) > 0


@pytest.mark.timeout(60)
def test_a_client_that_leaves_gives_back_its_place(loop: asyncio.Runner, runner: Runner) -> None:
    async def left() -> None:
        tools = tuple(
            {"type": "function", "function": {"name": f"f{n}", "parameters": slow_schema(n, 150)}} for n in range(200)
        )
        template = "{{ tools | length }}"  # a prompt that is shorter than its tools
        endless = ChatRequest(HELLO, tools=tools, template=template, tool_choice=ToolChoice("required"))
        slow = [asyncio.create_task(said(runner.answer(endless))) for _ in range(2)]
        await said(runner.answer(QUESTION))  # by then they are being prepared
        for task in slow:
            task.cancel()
        form = AnswerFormat({"type": "integer", "minimum": 1, "maximum": 9})
        assert (await said(runner.answer(CompletionRequest("x", format=form)))).strip().isdigit()

    loop.run(left())


@pytest.mark.parametrize(
    ("request_", "is_long"),
    [
        (QUESTION, False),
        (CompletionRequest("x" * 4000), False),
        (CompletionRequest(tuple(range(9000))), False),
        (CompletionRequest("x" * 5000), True),
        (CompletionRequest("x", suffix="x" * 5000), True),
        (CompletionRequest("x", format=AnswerFormat()), True),
        (ChatRequest(HELLO, template="{{ messages }}"), True),
        (ChatRequest(HELLO, tools=({"function": {"name": "f"}},)), True),
        (ChatRequest(({"role": "user", "content": [{"type": "text", "text": "x" * 5000}]},)), True),
        (ChatRequest(HELLO * 5000), True),
        (ChatRequest(HELLO, system="x" * 5000), True),
        (ChatRequest(HELLO, template_variables={"documents": [{"x" * 5000: 1}]}), True),
    ],
)
def test_which_requests_may_take_long(request_: ChatRequest | CompletionRequest, is_long: bool) -> None:
    assert may_take_long(request_) is is_long
