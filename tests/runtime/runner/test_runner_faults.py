"""What befalls runners: death, silence, nonsense, lost servers, clients that do not read, and clients that leave."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.protocol.errors import RequestTooLarge
from mlxbuild.runtime.protocol.events import Chunk, Event
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest
from mlxbuild.runtime.runner import client, frames
from mlxbuild.runtime.runner.client import Runner, Timeouts
from mlxbuild.runtime.runner.errors import ReaderTooSlow, RunnerDied, RunnerStalled
from tests.processes import ends, has_ended
from tests.runtime.vitals import at_rest

QUESTION = ChatRequest(({"role": "user", "content": "What is mlxbuild?"},), think=False)
LONG = CompletionRequest("mlxbuild is", options={"stops": ["never to be seen"], "max_tokens": 400})


def patience_for_now() -> Any:
    """The usual one, which a test can shorten once its process has come as far as it should."""
    return SimpleNamespace(**asdict(Timeouts()))


async def reader(place: Path) -> int:
    """A descriptor that writes to a pipe in the file system, once somebody reads it."""
    while True:
        try:
            return os.open(place, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            await asyncio.sleep(0.02)


async def said(events: AsyncIterator[Event]) -> str:
    return "".join([event.text async for event in events if isinstance(event, Chunk)])


def test_a_killed_process_fails_its_requests_and_no_others(
    loop: asyncio.Runner, runner: Runner, folder: Path, scratch: Path
) -> None:
    async def killed() -> None:
        other = await Runner.start(folder, scratch)
        answer = other.answer(LONG)
        await anext(answer)
        beside = asyncio.create_task(said(runner.answer(QUESTION)))
        os.kill(other.process_id, signal.SIGKILL)
        with pytest.raises(RunnerDied, match="SIGKILL"):
            await said(answer)
        with pytest.raises(RunnerDied):
            await said(other.answer(QUESTION))
        assert not other.alive
        assert "mlxbuild is" in await beside
        await other.stop()

    loop.run(killed())


def test_a_crash_is_told_by_what_was_said_of_it(loop: asyncio.Runner, folder: Path, scratch: Path) -> None:
    async def crashed() -> None:
        other = await Runner.start(folder, scratch)
        os.kill(other.process_id, signal.SIGSEGV)
        with pytest.raises(RunnerDied, match="SIGSEGV") as raised:
            await said(other.answer(LONG))
        assert raised.value.hint == "its last words: Fatal Python error: Segmentation fault"

    loop.run(crashed())


def test_a_process_that_hangs_is_ended(loop: asyncio.Runner, folder: Path, scratch: Path) -> None:
    patience = patience_for_now()

    async def hung() -> None:
        other = await Runner.start(folder, scratch, patience=patience)
        patience.silent_seconds = 2
        os.kill(other.process_id, signal.SIGSTOP)
        large = asyncio.create_task(said(other.answer(CompletionRequest("x" * 10_000_000))))  # more than is taken in
        with pytest.raises(RunnerStalled, match="no sign of life"):
            await said(other.answer(QUESTION))
        with pytest.raises(RunnerStalled):
            await large
        assert has_ended(other.process_id)

    loop.run(hung())


def test_a_load_that_gets_nowhere_is_ended_and_its_place_told(
    loop: asyncio.Runner, scratch: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "mlxbuild").mkdir()
    place = tmp_path / "mlxbuild" / "facts.json"
    os.mkfifo(place)  # as a network disk that answers no more
    patience = patience_for_now()

    async def stalled() -> None:
        starting = asyncio.create_task(Runner.start(tmp_path, scratch, patience=patience))
        writing = await asyncio.wait_for(reader(place), 60)
        patience.stall_seconds = 2
        with pytest.raises(RunnerStalled, match="made no progress"):
            await starting
        os.close(writing)

    loop.run(stalled())
    assert "in read_bytes" in caplog.text


@pytest.mark.parametrize("body", ["while True: pass", "return []"])
def test_a_loop_without_an_end_is_ended(
    loop: asyncio.Runner, folder: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    program = tmp_path / "program"
    # Called as `program -I -m mlxbuild.runtime.runner DESCRIPTOR PARENT`.
    program.write_text(f"""#!{sys.executable}
import runpy, sys
from mlxbuild.runtime.engine.core.scheduler import Scheduler
def iterate(self):
    {body}
Scheduler.iterate = iterate
sys.argv[1:] = sys.argv[4:]
runpy.run_module("mlxbuild.runtime.runner", run_name="__main__")
""")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))

    async def endless() -> None:
        other = await Runner.start(folder, scratch, patience=Timeouts(standstill_seconds=3))
        with pytest.raises(RunnerStalled, match="none of its requests made progress"):
            await said(other.answer(QUESTION))
        assert ends(other.process_id)

    loop.run(endless())


def test_a_folder_that_is_no_model_is_a_clear_error(loop: asyncio.Runner, tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(MlxbuildError, match=r"facts\.json is missing"):
        loop.run(Runner.start(tmp_path, scratch))


@pytest.mark.parametrize(
    "said_at_first",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">I", 2**32 - 1) + b"x",
        struct.pack(">I", 5) + b"{}",
        struct.pack(">I", 2) + b"{}",
        struct.pack(">I", 9) + b'["what"]\n',
        struct.pack(">I", 8) + b"[[[[[[[[",
        b"\0",
    ],
)
def test_a_process_that_is_told_nonsense_ends(said_at_first: bytes) -> None:
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "mlxbuild.runtime.runner", str(theirs.fileno()), str(os.getpid())],
        pass_fds=(theirs.fileno(),),
        stderr=subprocess.DEVNULL,
    )
    theirs.close()
    ours.sendall(said_at_first)
    ours.shutdown(socket.SHUT_WR)
    assert process.wait(30) != 0
    ours.close()


@pytest.mark.parametrize(
    "nonsense", ["nonsense that is long enough", r"\000\000\000\002{}", r"\000\000\000\011[\"events\""]
)
def test_a_process_that_says_nonsense_is_ended(
    loop: asyncio.Runner, folder: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nonsense: str
) -> None:
    program = tmp_path / "program"
    # Called as `program -I -m mlxbuild.runtime.runner DESCRIPTOR PARENT`.
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, time\nos.write(int(sys.argv[4]), b'{nonsense}')\n"
        "os.close(int(sys.argv[4]))\ntime.sleep(100)\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    # It may be gone before it has read what it was asked, and then its words are lost on the way.
    with pytest.raises(RunnerDied, match=r"was ended: .*(frame|closed its connection)"):
        loop.run(Runner.start(folder, scratch))


@pytest.mark.parametrize("stopped", [False, True])
def test_no_process_outlives_its_server(folder: Path, scratch: Path, stopped: bool) -> None:
    script = """
import asyncio, pathlib, sys
from mlxbuild.runtime.runner.client import Runner

async def main():
    runner = await Runner.start(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
    print(runner.process_id, flush=True)
    await asyncio.sleep(100)

asyncio.run(main())
"""
    server = subprocess.Popen([sys.executable, "-c", script, folder, scratch], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    process_id = int(server.stdout.readline())
    if stopped and sys.platform == "linux":
        os.kill(process_id, signal.SIGSTOP)
    server.kill()
    server.wait()
    server.stdout.close()
    assert ends(process_id)


def test_an_answer_that_nobody_reads_is_given_up_and_others_go_on(
    loop: asyncio.Runner, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "UNREAD_EVENTS", 250)

    async def unread() -> None:
        answer = runner.answer(LONG)
        await anext(answer)
        assert "mlxbuild is" in await said(runner.answer(QUESTION))
        await at_rest(runner)
        with pytest.raises(ReaderTooSlow):
            await said(answer)

    loop.run(unread())


def test_clients_that_leave_by_the_hundred_leave_no_work(loop: asyncio.Runner, runner: Runner) -> None:
    async def left() -> None:
        before = runner.statistics().engine.answer_tokens
        asking = [asyncio.create_task(said(runner.answer(LONG))) for _ in range(300)]
        await asyncio.sleep(0.3)
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert "mlxbuild is" in await said(runner.answer(QUESTION))
        await at_rest(runner)
        assert runner.statistics().engine.answer_tokens - before < 100 * 400

    loop.run(left())


def test_what_cannot_be_sent_fails_alone(loop: asyncio.Runner, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sent() -> None:
        endless: list[object] = []
        endless.append(endless)
        with pytest.raises(ValueError, match="Circular"):
            await said(runner.answer(CompletionRequest("x", options={"stops": endless})))
        with monkeypatch.context() as patch:
            patch.setattr(frames, "FRAME_LIMIT_BYTES", 1000)
            with pytest.raises(RequestTooLarge):
                await said(runner.answer(CompletionRequest("x" * 1000)))
        with pytest.raises(MlxbuildError):
            await said(runner.answer(CompletionRequest("\ud800")))
        assert "mlxbuild is" in await said(runner.answer(QUESTION))

    loop.run(sent())
