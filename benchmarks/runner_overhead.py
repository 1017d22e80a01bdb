"""What it costs to have a model in a process of its own: the delay of a request, and the front's work for a token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.finding import Finding
from benchmarks.workplace import fresh_home
from mlxbuild.registry.artifact.folder import model_folder
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.blas import prefer_openblas
from mlxbuild.runtime.protocol.requests import CompletionRequest
from mlxbuild.runtime.runner.client import Runner

if TYPE_CHECKING:
    from mlxbuild.runtime.loaded_model import LoadedModel

_HELLO = Path(__file__).parent.parent / "examples" / "hello"
_REQUESTS = 100
_STREAMS = 64
_STREAMS_OF_A_CORE, _TOKENS_PER_SECOND = 500, 30
"""What the front is to serve on one core: as many streams, each as fast as people read."""


def measure(runs: int) -> Iterator[Finding]:
    """Short requests to a runner and to the same model in this process in turn; then many streams at once."""
    prefer_openblas()
    with fresh_home() as home:
        home.run("create", "-f", _HELLO, "--variant", "int4")
        store = Store.open(Home(home.folder))
        folder = model_folder(store, store.tags.resolve(Reference.parse("hello:int4")))
        added, work = asyncio.run(_measure(folder, home.folder / "cache" / "runners", runs))
    yield Finding("what a runner adds to a request, at the median", "ms", median(added) * 1000, 3.0)
    bound = 1000 / (_STREAMS_OF_A_CORE * _TOKENS_PER_SECOND)
    yield Finding(f"the front's processor time for a token, {_STREAMS} streams", "ms", median(work) * 1000, bound)


async def _measure(folder: Path, scratch: Path, runs: int) -> tuple[list[float], list[float]]:
    from mlxbuild.runtime.loaded_model import LoadedModel

    model = LoadedModel(folder)
    runner = await Runner.start(folder, scratch)
    try:
        added = [await _added(model, runner) for _ in range(runs)]
        return added, [await _work(runner) for _ in range(runs)]
    finally:
        await runner.stop()
        model.close()


async def _added(model: LoadedModel, runner: Runner) -> float:
    """The difference of the medians, in seconds."""
    ours, bare = [], []
    request = CompletionRequest("mlxbuild is", options={"max_tokens": 1})
    for _ in range(_REQUESTS):
        began = time.perf_counter()
        for _ in model.answer(request):
            pass
        between = time.perf_counter()
        async for _ in runner.answer(request):
            pass
        bare.append(between - began)
        ours.append(time.perf_counter() - between)
    return median(ours) - median(bare)


async def _work(runner: Runner) -> float:
    """Processor time of this process for each event of answers, in seconds."""

    async def read(number: int) -> int:
        options = {"max_tokens": 100, "temperature": 1.0, "seed": number}
        return len([event async for event in runner.answer(CompletionRequest("mlxbuild is", options=options))])

    began = time.process_time()
    events = sum(await asyncio.gather(*map(read, range(_STREAMS))))
    return (time.process_time() - began) / events
