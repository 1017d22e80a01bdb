"""Mixed load on `mlxbuild serve` for a long time: does memory grow, do descriptors leak, does a request get stuck?

    python -m benchmarks.soak --minutes 20

People chat, stream, leave in the middle, call tools, ask for JSON and vectors, send nonsense, and want more models
than may be loaded; now and then a runner is killed. It prints a line a minute, and exits with 1 if a bound is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]

from benchmarks import servers
from benchmarks.workplace import fresh_home

_HELLO = Path(__file__).parent.parent / "examples" / "hello"
_MODELS = ("hello:int4", "hello:int4", "hello:int4", "hello:int8", "hello:none")
_PEOPLE = 12
_WARM_MINUTES = 3
_GROWTH_BYTES = 24 * 2**20
"""Of the server, from when it is warm to the end."""
_SILENT_SECONDS = 90.0
_SCHEMA = {"type": "object", "properties": {"answer": {"type": "string", "maxLength": 20}}, "required": ["answer"]}
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

Act = Callable[["_Person"], Awaitable[str]]


class _Person:
    """One who keeps asking."""

    def __init__(self, client: httpx.AsyncClient, seed: int) -> None:
        self.client = client
        self.chance = random.Random(seed)

    @property
    def model(self) -> str:
        return self.chance.choice(_MODELS)

    @property
    def messages(self) -> list[dict[str, str]]:
        lines = (_HELLO / "questions.txt").read_text(encoding="utf-8").splitlines()
        return [{"role": "user", "content": self.chance.choice(lines).split("\t")[0]}]


async def _chats(person: _Person) -> str:
    body = {"model": person.model, "messages": person.messages, "options": {"temperature": 0.7}}
    return await _read(person, "/api/chat", body, '"done":true')


async def _streams(person: _Person) -> str:
    body = {"model": person.model, "messages": person.messages, "stream": True, "seed": 7, "temperature": 1.0}
    return await _read(person, "/v1/chat/completions", body, "[DONE]")


async def _writes_to_anthropic(person: _Person) -> str:
    body = {"model": person.model, "messages": person.messages, "max_tokens": 60, "stream": True}
    return await _read(person, "/v1/messages", body, "message_stop")


async def _leaves(person: _Person) -> str:
    body = {"model": person.model, "messages": [{"role": "user", "content": "Tell me a story."}], "stream": True}
    async with person.client.stream("POST", "/api/chat", json=body) as reply:
        lines = []
        async for line in reply.aiter_lines():
            lines.append(line)
            if reply.status_code == 200 and person.chance.random() < 0.2:
                return "left"
    return _outcome(reply.status_code, "".join(lines))


async def _calls(person: _Person) -> str:
    messages = [{"role": "user", "content": "What is the weather in Rome?"}]
    return await _ask(person, "/api/chat", {"model": person.model, "messages": messages, "tools": [_TOOL]})


async def _wants_json(person: _Person) -> str:
    return await _ask(
        person, "/api/chat", {"model": person.model, "messages": person.messages, "format": _SCHEMA, "think": False}
    )


async def _embeds(person: _Person) -> str:
    return await _ask(person, "/api/embed", {"model": person.model, "input": ["one", "two words", "three words now"]})


async def _is_rude(person: _Person) -> str:
    content = person.chance.choice(
        [b"{", b"[]", b'{"model": 7}', b"\xff\xfe", b'{"model": "nobody", "messages": [{"role": "user"}]}', b""]
    )
    path = person.chance.choice(["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/messages", "/api/embed"])
    reply = await person.client.post(path, content=content)
    return f"{reply.status_code // 100}xx"


async def _goes_on_too_long(person: _Person) -> str:
    messages = [{"role": "user", "content": "word " * 30_000}]
    return await _ask(person, "/v1/chat/completions", {"model": person.model, "messages": messages, "max_tokens": 5})


async def _stops(person: _Person) -> str:
    return await _ask(person, "/api/generate", {"model": "hello:int8", "prompt": "", "keep_alive": 0})


_ACTS: dict[Act, int] = {
    _chats: 8, _streams: 8, _writes_to_anthropic: 4, _leaves: 6, _calls: 3, _wants_json: 3, _embeds: 3, _is_rude: 4,
    _goes_on_too_long: 1, _stops: 1,
}  # fmt: skip


async def _ask(person: _Person, path: str, body: dict[str, Any]) -> str:
    reply = await person.client.post(path, json={"stream": False, **body})
    json.loads(reply.content)
    return _outcome(reply.status_code, reply.text)


async def _read(person: _Person, path: str, body: dict[str, Any], end: str) -> str:
    async with person.client.stream("POST", path, json=body) as reply:
        text = "".join([line async for line in reply.aiter_lines()])
    if reply.status_code == 200 and end not in text:
        return "an error in the stream" if "error" in text else "NO END"
    return _outcome(reply.status_code, text)


def _outcome(status: int, text: str) -> str:
    """The status; but a request whose runner was killed has to be told so, and is no failure inside."""
    return "its runner was killed" if status == 500 and signal.SIGKILL.name in text else str(status)


async def _live(person: _Person, until: float, seen: Counter[str]) -> None:
    while time.monotonic() < until:
        act = person.chance.choices(list(_ACTS), list(_ACTS.values()))[0]
        name = act.__name__.strip("_")  # type: ignore[attr-defined]
        try:
            seen[f"{name}: {await asyncio.wait_for(act(person), _SILENT_SECONDS)}"] += 1
        except (TimeoutError, httpx.TimeoutException):
            seen[f"{name}: STUCK"] += 1
        except httpx.HTTPError as error:
            seen[f"{name}: {type(error).__name__}"] += 1


async def _soak(port: int, process: psutil.Process, minutes: float) -> bool:
    seen: Counter[str] = Counter()
    until = time.monotonic() + 60 * minutes
    base = f"http://127.0.0.1:{port}"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=_PEOPLE)
    async with httpx.AsyncClient(base_url=base, timeout=_SILENT_SECONDS, limits=limits) as client:
        people = [asyncio.create_task(_live(_Person(client, seed), until, seen)) for seed in range(_PEOPLE)]
        samples: list[tuple[int, int]] = []
        minute = 0
        while time.monotonic() < until:
            await asyncio.sleep(min(60, max(0.0, until - time.monotonic())))
            minute += 1
            samples.append((process.memory_info().rss, process.num_fds()))
            _tell(minute, process, seen)
            runners = process.children(recursive=True)
            if minute % 5 == 0 and runners:
                random.choice(runners).send_signal(signal.SIGKILL)
        await asyncio.gather(*people)
        await client.aclose()
    async with httpx.AsyncClient(base_url=base) as client:
        await asyncio.sleep(2)
        residents = (await client.get("/api/ps")).json()["models"]
        busy = sum(model["requests"] for model in residents)
    for name, count in sorted(seen.items()):
        sys.stdout.write(f"  {count:7} {name}\n")
    warm = samples[min(_WARM_MINUTES, len(samples)) - 1]
    growth = samples[-1][0] - warm[0]
    broken = {
        f"the server's memory grew by {growth / 2**20:.1f} MiB": growth > _GROWTH_BYTES,
        f"{warm[1]} descriptors when it was warm, {process.num_fds()} at the end": process.num_fds() > warm[1] + 5,
        f"{busy} requests are still being answered": busy > 0,
        "every request ended": any("STUCK" in name or "NO END" in name for name in seen),
        "no request met a failure inside the server": any(": 500" in name for name in seen),
    }
    for what, is_broken in broken.items():
        sys.stdout.write(f"{'BROKEN' if is_broken else 'holds'}: {what}\n")
    return not any(broken.values())


def _tell(minute: int, process: psutil.Process, seen: Counter[str]) -> None:
    runners = [child.memory_info().rss for child in process.children(recursive=True)]
    sys.stdout.write(
        f"minute {minute}: {sum(seen.values())} requests, server {process.memory_info().rss / 2**20:.1f} MiB, "
        f"{process.num_fds()} descriptors, {process.num_threads()} threads, "
        f"runners {' '.join(f'{rss / 2**20:.0f}' for rss in runners)} MiB\n"
    )
    sys.stdout.flush()


def main() -> None:
    """Soak, tell, and judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    minutes = parser.parse_args().minutes
    with fresh_home() as home:
        home.run("create", "-f", _HELLO)
        with servers.ours(home, environment={"MLXBUILD_MAX_LOADED_MODELS": "2"}) as server:
            fine = asyncio.run(_soak(server.port, psutil.Process(server.process.pid), minutes))
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
