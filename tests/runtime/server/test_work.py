"""Long work in threads: its progress, its result, its errors, and its end when nobody waits any more."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from mlxbuild.registry.core import cancellation
from mlxbuild.runtime.residency.errors import ServerBusy
from mlxbuild.runtime.server.long_task import LongTask, TaskCancelled, TaskThreads, in_thread


def test_progress_then_the_result() -> None:
    news: list[dict[str, Any]] = []

    def do() -> str:
        news.append({"status": "begun"})
        return "done"

    def told() -> list[dict[str, Any]]:
        taken = list(news)
        news.clear()
        return taken

    async def scenario() -> None:
        async with LongTask(TaskThreads(1), do, told) as work:
            assert [each async for each in work.progress()] == [{"status": "begun"}]
        assert work.result == "done"

    asyncio.run(scenario())


def test_its_error_is_the_iterators() -> None:
    def do() -> None:
        raise ZeroDivisionError("oh")

    async def scenario() -> None:
        async with LongTask(TaskThreads(1), do, list) as work:
            async for _ in work.progress():
                raise AssertionError("there was nothing to tell")

    with pytest.raises(ZeroDivisionError, match="oh"):
        asyncio.run(scenario())


@pytest.mark.parametrize("how", ["closed", "cancelled"])
def test_nobody_waits_any_more(how: str) -> None:
    ended, begun = threading.Event(), threading.Event()

    def do() -> None:
        begun.set()
        try:
            cancellation.wait(60)
        except TaskCancelled:
            ended.set()
            raise

    lanes = TaskThreads(1)

    async def follow() -> None:
        work = LongTask(lanes, do, lambda: [{"status": "working"}])
        async with work, contextlib.aclosing(work.progress()) as progress:
            async for _ in progress:
                if how == "closed":
                    return

    async def scenario() -> None:
        following = asyncio.create_task(follow())
        await asyncio.to_thread(begun.wait, 30)
        if how == "cancelled":
            following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await lanes.ended(30)
        assert ended.is_set()

    asyncio.run(scenario())


def test_more_than_the_lanes_take_is_refused_until_one_is_free() -> None:
    may_end = threading.Event()

    async def scenario() -> None:
        lanes = TaskThreads(1)
        async with LongTask(lanes, lambda: may_end.wait(30), list) as first:
            with pytest.raises(ServerBusy, match="busy with 1 pull"):
                async with LongTask(lanes, lambda: None, list):
                    raise AssertionError("there was no lane")
            may_end.set()
            assert [told async for told in first.progress()] == []
        await lanes.ended(30)
        async with LongTask(lanes, lambda: "done", list) as second:
            assert [told async for told in second.progress()] == []
        assert second.result == "done"

    asyncio.run(scenario())


def test_a_cancellation_waits_for_what_is_short() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def do() -> None:
        begun.set()
        may_end.wait(30)
        ended.set()

    async def scenario() -> None:
        doing = asyncio.create_task(in_thread(do))
        assert await asyncio.to_thread(begun.wait, 30)
        doing.cancel()
        await asyncio.sleep(0.05)
        assert not doing.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await doing
        assert ended.is_set()

    asyncio.run(scenario())
