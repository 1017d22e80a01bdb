"""What a request pays for coming over HTTP to a model in another process, how fast `serve` starts, and 500 streams."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from benchmarks import servers
from benchmarks.finding import Finding
from benchmarks.streams import at_once
from benchmarks.workplace import Home, fresh_home
from mlxbuild.registry.artifact.folder import model_folder
from mlxbuild.registry.core.home import Home as StoreHome
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.blas import prefer_openblas

_HELLO = Path(__file__).parent.parent / "examples" / "hello"
_MODEL = "hello:int4"
_REQUESTS = 200
_STREAMS = 500
_PROMPT = "A lock pins every source"


def measure(runs: int) -> Iterator[Finding]:
    """Starts of the server; then one server that answers short requests, and many streams from one core."""
    with fresh_home() as home:
        home.run("create", "-f", _HELLO, "--variant", "int4")
        starts = []
        for _ in range(runs + 1):
            with servers.ours(home) as server:
                starts.append(server.start_seconds)
        yield Finding("serve: start to the first answer", "s", median(starts[1:]), 1.0)
        with servers.ours(home) as server:
            over_http, here = _short_requests(home, server.port)
            added = (median(over_http) - median(here)) * 1000
            yield Finding("what the server adds to a request, at the median", "ms", added, 3.0)
            for thread in Path(f"/proc/{server.process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {0})
            body = {"model": _MODEL, "messages": [{"role": "user", "content": "What is a lock?"}], "temperature": 0}
            load = at_once(server.port, [body] * _STREAMS, _STREAMS)
            texts = {stream.text.strip() for stream in load.streams}
            yield Finding(f"{_STREAMS} streams at once, the front on one core", "s", load.seconds, None)
            yield Finding("whole answers among them", "answers", len(load.streams), _STREAMS, at_least=True)
            yield Finding("different answers to the one question", "answers", len(texts), 1)


def _short_requests(home: Home, port: int) -> tuple[list[float], list[float]]:
    """Seconds of a request for one token, over HTTP and in this process, in turn."""
    prefer_openblas()
    from mlxbuild.runtime.loaded_model import LoadedModel

    store = Store.open(StoreHome(home.folder))
    model = LoadedModel(model_folder(store, store.tags.resolve(Reference.parse(_MODEL))))
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"model": _MODEL, "prompt": _PROMPT, "raw": True, "stream": False, "options": {"num_predict": 1}})

    def ask() -> None:
        connection.request("POST", "/api/generate", body)
        reply = json.loads(connection.getresponse().read())
        if reply.get("eval_count") != 1:
            raise RuntimeError(f"the server answered {reply}")

    over_http, here = [], []
    try:
        for _ in range(_REQUESTS):
            over_http.append(_seconds(ask))
            here.append(_seconds(lambda: list(model.generate(_PROMPT, max_tokens=1))))
    finally:
        connection.close()
        model.close()
    return over_http[_REQUESTS // 4 :], here[_REQUESTS // 4 :]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
