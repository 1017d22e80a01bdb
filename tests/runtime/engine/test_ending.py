"""What is computed is left between two layers when an engine ends; a fork of its process is told that it has none."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runtime.engine.layers import fresh
from runtime.engine.limits import Limits
from runtime.engine.loop import EngineEnded
from runtime.engine.pace import Portion
from runtime.engine.prefill import Prefill
from runtime.engine.prefix_cache import PrefixCache
from runtime.engine.row import Row
from tests.runtime.engine.asking import TOKENIZER, engine_of, prepared, words
from tests.runtime.engine.random_models import random_model

NO_PREFIXES = Limits(part_tokens=64, cache_bytes=1 << 34, prefix_bytes=0)


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
        prefill.add(Row(prepared(words(seed, 40)), lambda _: None, TOKENIZER))
    with pytest.raises(Left):
        prefill.advance(Portion(512))
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
from registry.errors import MlxbuildError
from runtime.session import LoadedModel

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
print(os.waitstatus_to_exitcode(status), list(chunks)[-1].ending.answer_tokens > 1)
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="forks abort on macOS")
def test_a_fork_is_refused_and_both_processes_end(tiny_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, tiny_folder], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines() == ["engine-ended engine-ended forked-process", "7 True"]
