"""Opens streams at a server that speaks OpenAI's chat API, counts tokens, and notes when they came.

It reads a reply when all of it has come, so that what is measured is the server and not this client.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SILENT_SECONDS = 300


class StreamBroken(RuntimeError):
    """A server answered with something else than a whole stream."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One answer."""

    tokens: int
    """As the server counts them; parts of text where it does not."""
    began: float
    """By the clock of `time.perf_counter`, as all times here."""
    arrivals: tuple[float, ...]
    """When each part of the answer came."""
    text: str

    @property
    def first_seconds(self) -> float:
        """From the request to the first part."""
        return self.arrivals[0] - self.began


@dataclass(frozen=True, slots=True)
class Load:
    """Streams that ran together."""

    streams: tuple[Stream, ...]
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Of all streams together."""
        return sum(stream.tokens for stream in self.streams) / self.seconds


def at_once(port: int, bodies: Sequence[Mapping[str, Any]], count: int) -> Load:
    """Send all bodies, `count` of them at any time, and read the answers to their ends."""
    return asyncio.run(_at_once(port, bodies, count))


async def _at_once(port: int, bodies: Sequence[Mapping[str, Any]], count: int) -> Load:
    waiting = list(bodies)[::-1]
    done: list[Stream] = []

    async def client() -> None:
        while waiting:
            done.append(await stream(port, waiting.pop()))

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(count)))
    return Load(tuple(done), time.perf_counter() - began)


async def stream(port: int, body: Mapping[str, Any]) -> Stream:
    """One streamed chat completion.

    Raises:
        StreamBroken: it has no end, or is none.
    """
    content = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    transport, reply = await loop.create_connection(_Reply, "127.0.0.1", port)
    try:
        transport.write(head.encode() + content)
        async with asyncio.timeout(_SILENT_SECONDS):
            await reply.over
    finally:
        transport.close()
    return _read(reply.parts, began)


class _Reply(asyncio.Protocol):
    """Keeps what comes, and when: it is read when all of it has come, so that reading takes no time from the server."""

    def __init__(self) -> None:
        self.parts: list[tuple[float, bytes]] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.parts.append((time.perf_counter(), data))
        if b"data: [DONE]" in data:
            self._end()

    def connection_lost(self, _: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


def _read(parts: Sequence[tuple[float, bytes]], began: float) -> Stream:
    arrivals, texts, tokens = [], [], None
    line = b""
    is_whole = any(b"data: [DONE]" in data for _, data in parts)
    for arrival, data in parts:
        *lines, line = (line + data).split(b"\n")
        for event in (json.loads(each[6:]) for each in lines if each.startswith(b"data: {")):
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
            delta = event["choices"][0].get("delta", {}) if event.get("choices") else {}
            if delta.get("content"):
                arrivals.append(arrival)
                texts.append(delta["content"])
    if not is_whole or not arrivals:
        raise StreamBroken(f"an answer had no end: {''.join(texts)!r}")
    return Stream(len(texts) if tokens is None else tokens, began, tuple(arrivals), "".join(texts))
