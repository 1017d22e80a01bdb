"""One loaded model for threads and coroutines; leaving an answer, and closing the model."""

from __future__ import annotations

import gc

import pytest

from mlxbuild.runtime.engine.core.loop import EngineEnded
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.protocol.requests import CompletionRequest
from tests.runtime.asking import USER, text


def test_answers_come_at_once_to_threads_and_coroutines(tiny: LoadedModel) -> None:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    prompts = [f"hello {number}" for number in range(6)]
    expected = [text(tiny.generate(prompt, max_tokens=12)) for prompt in prompts]

    async def gather() -> list[str]:
        async def one(prompt: str) -> str:
            return "".join([chunk.text async for chunk in tiny.generate_async(prompt, max_tokens=12)])

        return await asyncio.gather(*map(one, prompts))

    with ThreadPoolExecutor(6) as pool:
        threads = [pool.submit(lambda prompt: text(tiny.generate(prompt, max_tokens=12)), prompt) for prompt in prompts]
        assert asyncio.run(gather()) == expected
        assert [each.result() for each in threads] == expected


def test_a_coroutine_that_leaves_ends_the_computing(tiny: LoadedModel) -> None:
    import asyncio

    async def leave() -> None:
        async for chunk in tiny.chat_async([USER]):
            if chunk.token is not None:
                break
        task = asyncio.create_task(anext(tiny.generate_async("hello world " * 30)))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    for stream in (tiny.answer(CompletionRequest("hello")), tiny.answer(CompletionRequest("world"))):
        next(stream)
        stream.close()
        assert list(stream) == []
    gc.collect()
    figures = tiny.engine.run(tiny.engine.statistics).result()
    assert (figures.running, figures.waiting) == (0, 0)


def test_a_closed_model_says_so_and_loads_again(tiny: LoadedModel) -> None:
    expected = text(tiny.generate("hello", max_tokens=5))
    stream = tiny.generate("hello")
    tiny.close()
    with pytest.raises(EngineEnded):
        list(stream)
    assert text(tiny.generate("hello", max_tokens=5)) == expected
