"""An ending engine stops between two layers, and a forked process is told that it has no engine."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlxbuild.runtime.engine.core.kv_cache import fresh
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.loop import EngineEnded
from mlxbuild.runtime.engine.core.prefill import Prefill
from mlxbuild.runtime.engine.core.prefill_budget import PrefillChunk
from mlxbuild.runtime.engine.core.prefix_cache import PrefixCache
from mlxbuild.runtime.engine.core.sequence import SequenceState
from tests.runtime.engine.questions import TOKENIZER, engine_of, prepared, words
from tests.runtime.engine.random_models import random_model

NO_PREFIXES = Limits(prefill_chunk_tokens=64, cache_bytes=1 << 34, prefix_bytes=0)


class Left(Exception):
    """Raised by a checkpoint."""


@pytest.mark.parametrize("prompts", [1, 2])
def test_a_prompt_is_left_between_two_layers(prompts: int) -> None:
    model = random_model("qwen3")
    depth = len(fresh(model))
    assert depth > 1
    asked = 0

    def checkpoint() -> None:
        nonlocal asked
        asked += 1
        if asked == depth:
            raise Left

    prefill = Prefill(model, PrefixCache(model, 0), checkpoint=checkpoint)
    for seed in range(prompts):
        prefill.add(SequenceState(prepared(words(seed, 40)), lambda _: None, TOKENIZER))
    with pytest.raises(Left):
        prefill.advance(PrefillChunk(512))
    assert asked == depth, "it was not asked before each layer"


def test_what_waits_for_the_engine_fails_when_it_ends() -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()

    def work() -> bool:
        has_begun.set()
        return may_go_on.wait()

    with engine_of(random_model("qwen3"), NO_PREFIXES) as engine:
        running = engine.run(work)
        waiting = engine.run(lambda: pytest.fail("it was computed all the same"))
        closing = threading.Thread(target=engine.close)
        has_begun.wait()
        closing.start()
        while engine.ended is None:
            pass
        may_go_on.set()
        closing.join()
        assert running.result() is True
        with pytest.raises(EngineEnded):
            waiting.result()
        with pytest.raises(EngineEnded):
            engine.checkpoint()


FORKS = """
import os, sys
from pathlib import Path
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.loaded_model import LoadedModel

def code(work):
    try:
        work()
    except MlxbuildError as error:
        return error.code

model = LoadedModel(Path(sys.argv[1]))
chunks = model.generate("hello", max_tokens=200, temperature=1.0)
next(chunks)
child = os.fork()
if not child:
    told = [code(lambda: list(chunks)), code(lambda: next(model.generate("hello")))]
    print(*told, code(lambda: LoadedModel(Path(sys.argv[1])).engine), flush=True)
    sys.exit(7)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), list(chunks)[-1].finish.answer_tokens > 1)
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="forks abort on macOS")
def test_a_fork_is_refused_and_both_processes_end(tiny_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, tiny_folder], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines() == ["engine-ended engine-ended forked-process", "7 True"]


INTERRUPTS = """
import atexit, os, signal, sys, threading, time
done, forked = [], []
os.register_at_fork(after_in_parent=lambda: forked.extend(done))  # before a signal that was put off comes again
atexit.register(lambda: print(*sorted(done), refused(), flush=True))  # after engines and loads have ended

from pathlib import Path
from mlxbuild.runtime.engine.core.loading import on_own_thread
from mlxbuild.runtime.engine.core.loop import EngineEnded
from mlxbuild.runtime.loaded_model import LoadedModel

def compute():
    has_begun.set()
    may_end.wait()
    done.append("computed")

def load(checkpoint):
    loads.set()
    try:
        while True:
            checkpoint()
            time.sleep(0.01)
    finally:
        done.append("left")

def refused():
    try:
        on_own_thread(lambda _: print("loaded"))
    except EngineEnded as error:
        return error.message

def interrupted(act):
    has_begun.wait()
    try:
        act()
        time.sleep(10)
    except KeyboardInterrupt:
        return True

signal.signal(signal.SIGINT, signal.default_int_handler)
has_begun, may_end, loads = threading.Event(), threading.Event(), threading.Event()
engine = LoadedModel(Path(sys.argv[1])).engine
engine.run(compute)
"""
AT_CLOSE = """
def swallowing():
    try:
        on_own_thread(load)
    except EngineEnded:
        pass

threading.Thread(target=swallowing, daemon=True).start()
loads.wait()

def close():
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    engine.close()

print(interrupted(close), done, flush=True)
may_end.set()
"""
AT_FORK = """
def fork():
    if not os.fork():
        os._exit(0)

def interrupt():
    while signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        time.sleep(0.001)  # until the fork has begun to wait
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    may_end.set()

threading.Thread(target=interrupt).start()
print(interrupted(fork), *forked, os.waitstatus_to_exitcode(os.wait()[1]))
print(engine.run(lambda: "goes on").result(), flush=True)
"""


def told(program: str, folder: Path) -> list[str]:
    command = [sys.executable, "-c", INTERRUPTS + program, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_an_interrupted_close_lets_no_process_end_below_an_engine_or_a_load(tiny_folder: Path) -> None:
    assert told(AT_CLOSE, tiny_folder) == ["True []", "computed left the process ends"]


@pytest.mark.skipif(sys.platform == "darwin", reason="forks abort on macOS")
def test_an_interrupted_fork_waits_for_the_engine(tiny_folder: Path) -> None:
    assert told(AT_FORK, tiny_folder) == ["True computed 0", "goes on", "computed the process ends"]
