"""The process that renders comes and goes with the one that asks it, whatever happens to either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import psutil
import pytest

from mlxbuild.runtime.rendering.limits import Limits
from mlxbuild.runtime.rendering.messages import Failure, Request, TemplateFault
from mlxbuild.runtime.rendering.standing import Renderers

GENEROUS_SECONDS = 60
ENDLESS = "{% for a in range(99999) %}{% set x = ('a' * 4000000) | upper %}{% endfor %}"
PROGRAM = """
import os, sys
from mlxbuild.runtime.rendering import standing
from mlxbuild.runtime.rendering.limits import Limits
from mlxbuild.runtime.rendering.messages import Request
from datetime import datetime

def render(text, seconds=1.0):
    return standing.ask(Request(text, Limits(seconds=seconds), {}, datetime.now()))

render("x")
"""


def hello(**limits: float) -> Request:
    return Request("Hello {{ name }}", Limits(**limits), {"name": "you"}, datetime(2026, 1, 1, tzinfo=UTC))


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GENEROUS_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(process_id: int) -> bool:
    return not psutil.pid_exists(process_id) or psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE


def began(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM + program], stdout=subprocess.PIPE, text=True)


def test_one_stands_by_and_is_replaced_when_it_was_killed() -> None:
    renderers = Renderers()
    assert renderers.process_ids() == []  # it begins with the first template
    assert renderers.ask(hello()) == "Hello you"
    (first,) = renderers.process_ids()
    assert renderers.ask(hello()) == "Hello you"
    assert renderers.process_ids() == [first]
    os.kill(first, signal.SIGKILL)
    assert renderers.ask(hello()) == "Hello you"
    (second,) = renderers.process_ids()
    assert second != first
    renderers.close()
    assert is_gone(second)


def test_it_is_replaced_after_a_template_that_took_too_long() -> None:
    renderers = Renderers()
    with pytest.raises(Failure) as caught:
        renderers.ask(Request("{{ ('a' * 400000) | wordwrap(1) }}", Limits(seconds=0.05), {}, datetime.now()))
    assert caught.value.fault is TemplateFault.COSTLY
    assert renderers.ask(hello()) == "Hello you"
    renderers.close()


def test_it_imports_neither_mlx_nor_sanic() -> None:
    program = (
        "import sys; import mlxbuild.runtime.rendering.process as _\n"
        "print([name for name in ('mlx', 'mlx_lm', 'sanic', 'asyncio', 'tokenizers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_asking_imports_no_jinja() -> None:
    program = "import sys\nprint('jinja2' in sys.modules, flush=True)"
    with began(program) as process:
        assert process.communicate(timeout=GENEROUS_SECONDS)[0] == "False\n"
    assert process.returncode == 0


@pytest.mark.parametrize("at_work", [False, True])
def test_it_ends_with_a_parent_that_is_killed(at_work: bool) -> None:
    program = "print(*standing.process_ids(), flush=True)\n" + (
        f"render({ENDLESS!r})" if at_work else "import time; time.sleep(600)"
    )
    with began(program) as process:
        assert process.stdout is not None
        renderer = int(process.stdout.readline())
        if at_work:
            wait_until(lambda: psutil.Process(renderer).status() == psutil.STATUS_RUNNING)
        process.kill()
    wait_until(lambda: is_gone(renderer))


def test_a_fork_has_its_own_and_keeps_no_other_alive() -> None:
    program = """
theirs, = standing.process_ids()
reader, writer = os.pipe()
if os.fork() == 0:
    render("x")
    own, = standing.process_ids()
    os.write(writer, b"1" if own != theirs else b"0")
    os.read(0, 1)  # until the test is over
    os._exit(0)
assert os.read(reader, 1) == b"1"
print(theirs, render("again"), flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        renderer, text = process.stdout.readline().split()
        assert text == "again"
        process.wait(GENEROUS_SECONDS)
        wait_until(lambda: is_gone(int(renderer)))


def test_an_interrupt_leaves_nothing_out_of_step() -> None:
    program = f"""
import signal, threading, time
main = threading.main_thread().ident
def interrupt():
    time.sleep(0.3)
    signal.pthread_kill(main, signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    render({ENDLESS!r}, 30.0)
except KeyboardInterrupt:
    print(render("still right"), flush=True)
"""
    with began(program) as process:
        assert process.communicate(timeout=GENEROUS_SECONDS)[0] == "still right\n"
    assert process.returncode == 0


def test_what_is_no_text_comes_back_as_it_was() -> None:
    renderers = Renderers()
    variables = {"t": (1, "\ud800"), "d": {2: (3,)}}
    written = "{{ t }} {{ d }} {{ t[1] }} \U0001f600"
    request = Request(written, Limits(), variables, datetime(2026, 1, 1, tzinfo=UTC))
    assert renderers.ask(request) == "(1, '\\ud800') {2: (3,)} \ud800 \U0001f600"
    renderers.close()
