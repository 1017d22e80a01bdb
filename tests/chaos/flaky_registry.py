"""A proxy in front of a registry, which does to its connections what networks do: it drips, stalls, cuts, refuses and
answers with errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter

_FAULTS = ("none",) * 6 + ("drip", "stall", "cut", "refuse", "unavailable", "too many", "flip")
_ERRORS = {
    "unavailable": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "too many": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
}
_DRIP_SECONDS = 1.0
_CHUNK_BYTES = 64 * 1024


class FlakyRegistry:
    """Listens on a loopback port while it is entered, on a thread of its own. `calm` passes everything."""

    def __init__(self, upstream: str, seed: int) -> None:
        self._upstream = upstream
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections: set[asyncio.Task[None] | None] = set()
        """Kept here: nobody else holds a task whose connection has gone."""
        self.calm = False
        self.faults: Counter[str] = Counter()
        self.host = ""

    def __enter__(self) -> FlakyRegistry:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    async def _end(self) -> None:
        connections = [task for task in self._connections if task is not None]
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(task := asyncio.current_task())
        try:
            await self._disturb(reader, writer)
        finally:
            self._connections.discard(task)

    async def _disturb(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = "none" if self.calm else self._random.choice(_FAULTS)
        self.faults[fault] += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if fault in _ERRORS:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_ERRORS[fault])
                await writer.drain()
            elif fault != "refuse":
                await self._forward(reader, writer, fault)
        writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: str) -> None:
        host, _, port = self._upstream.rpartition(":")
        from_registry, to_registry = await asyncio.open_connection(host, int(port))
        sending = asyncio.ensure_future(_pass(reader, to_registry, "none", 0))
        limit = self._random.randrange(1, 2_000_000)
        try:
            await _pass(from_registry, writer, fault, limit)
        finally:
            sending.cancel()
            to_registry.close()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter, fault: str, limit: int) -> None:
    """Pass bytes on until the source ends; the fault begins after `limit` bytes."""
    passed = 0
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK_BYTES):
            if fault != "none" and passed + len(data) > limit:
                if fault == "flip":
                    data = bytes([data[0] ^ 1]) + data[1:]
                    fault = "none"
                else:
                    await _break(data, target, fault)
                    return
            passed += len(data)
            target.write(data)
            await target.drain()
        target.write_eof()


async def _break(data: bytes, target: asyncio.StreamWriter, fault: str) -> None:
    if fault == "cut":
        target.transport.abort()
    elif fault == "stall":
        while not target.transport.is_closing():
            await asyncio.sleep(1)
    else:
        for byte in data:
            target.write(bytes([byte]))
            await target.drain()
            await asyncio.sleep(_DRIP_SECONDS)
