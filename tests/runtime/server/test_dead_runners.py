"""A process that holds a model is killed when requests were sent to it and none was begun: all of them are answered."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from mlxbuild.runtime.residency.crash_history import MOST, REST_SECONDS
from mlxbuild.runtime.runner.client import Runner
from mlxbuild.runtime.runner.errors import RunnerDied
from mlxbuild.runtime.server.application import Application
from tests.runtime.server.running import RunningServer, soon
from tests.runtime.vitals import at_rest

MODEL = "hello:none-1.0"
MESSAGES = [{"role": "user", "content": "What is a lock?"}]
SHORT: dict[str, Any] = {"options": {"num_predict": 3}}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/api/chat", {"messages": MESSAGES, **SHORT}),
    ("/api/chat", {"messages": MESSAGES, "stream": False, **SHORT}),
    ("/api/generate", {"prompt": "A lock", **SHORT}),
    ("/api/generate", {"prompt": "A lock", "_debug_render_only": True}),
    ("/api/embed", {"input": ["a lock"]}),
    ("/api/embeddings", {"prompt": "a lock"}),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 3, "n": 3, "stream": True}),
    ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 3}),
    ("/v1/completions", {"prompt": [1, 2], "echo": True, "max_tokens": 3}),
    ("/v1/responses", {"input": "What is a lock?", "max_output_tokens": 3}),
    ("/v1/embeddings", {"input": "a lock"}),
    ("/v1/messages", {"messages": MESSAGES, "max_tokens": 3, "stream": True}),
    ("/v1/messages/count_tokens", {"messages": MESSAGES}),
]


def test_all_are_answered_by_one_process_that_is_loaded_afresh(
    hello_server: RunningServer, hello_application: Application, hello: httpx.Client
) -> None:
    def resident() -> dict[str, Any]:
        (model,) = (each for each in hello.get("/api/ps").json()["models"] if each["name"] == MODEL)
        return dict(model)

    async def process_id() -> int:
        async with hello_application.residency.lease(MODEL) as lease:
            return lease.runner.process_id

    def runner() -> int:
        return asyncio.run_coroutine_threadsafe(process_id(), hello_server.loop).result(60)

    def loads() -> float:
        lines = hello.get("/metrics").text.splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith(f'mlxbuild_model_loads_total{{model="{MODEL}')
        )

    def ask(path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(hello_server.url + path, json={"model": MODEL, **body}, timeout=120)

    first = runner()
    os.kill(first, signal.SIGSTOP)
    loads_before = loads()
    with ThreadPoolExecutor(len(REQUESTS)) as threads:
        answers = [threads.submit(ask, *request) for request in REQUESTS]
        soon(lambda: resident()["requests"] == len(REQUESTS))
        os.kill(first, signal.SIGKILL)
        for (path, _), answer in zip(REQUESTS, answers, strict=True):
            told = answer.result()
            assert (path, told.status_code) == (path, 200), told.text
            assert "error" not in told.text.replace('"error":null', ""), path
    assert runner() != first
    assert resident()["requests"] == 0
    assert loads() >= loads_before + len(REQUESTS)


def test_what_nobody_waits_for_is_not_asked_again(
    hello_server: RunningServer, hello_application: Application, hello: httpx.Client
) -> None:
    async def runner() -> Runner:
        async with hello_application.residency.lease(MODEL) as lease:
            return lease.runner

    def resident() -> dict[str, Any]:
        (model,) = (each for each in hello.get("/api/ps").json()["models"] if each["name"] == MODEL)
        return dict(model)

    def leave(path: str, body: dict[str, Any], blanks: int) -> None:
        content = json.dumps({"model": MODEL, **body}) + " " * blanks
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(hello_server.url + path, content=content, timeout=httpx.Timeout(60, read=0.3))

    first = asyncio.run_coroutine_threadsafe(runner(), hello_server.loop).result(60)
    os.kill(first.process_id, signal.SIGSTOP)
    left = [(path, body, blanks) for path, body in REQUESTS for blanks in (0, 100_000)]
    with ThreadPoolExecutor(len(left)) as threads:
        for each in [threads.submit(leave, *arguments) for arguments in left]:
            each.result()
    soon(lambda: resident()["requests"] == 0)
    os.kill(first.process_id, signal.SIGKILL)
    assert hello.post("/api/chat", json={"model": MODEL, "messages": MESSAGES, **SHORT}).status_code == 200
    second = asyncio.run_coroutine_threadsafe(runner(), hello_server.loop).result(60)
    assert second is not first
    told = asyncio.run_coroutine_threadsafe(at_rest(second), hello_server.loop).result(60)
    assert told.engine.answer_tokens <= 3


def test_who_keeps_dying_is_told_with_the_time_of_the_next_try(
    hello_server: RunningServer, hello_application: Application, hello: httpx.Client
) -> None:
    residency = hello_application.residency
    digest = dict(hello_application.store.tags.items())[MODEL].digest

    async def die() -> None:
        await residency.unload(MODEL)
        for _ in range(MOST):
            residency._deaths.note(digest, RunnerDied("the model's process ended"))

    asyncio.run_coroutine_threadsafe(die(), hello_server.loop).result(60)
    told = hello.post("/api/chat", json={"model": MODEL, "messages": MESSAGES, **SHORT})
    residency._deaths.forget(digest)
    assert (told.status_code, told.json()["code"]) == (503, "model-keeps-dying")
    assert REST_SECONDS - 60 < int(told.headers["retry-after"]) <= REST_SECONDS
