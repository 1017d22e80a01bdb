"""The exit codes of commands that somebody ends, and that nothing more is said then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.mlxbuild.conftest import PROGRAM, CommandLine


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "\ninterrupted\n"), (signal.SIGTERM, 143, "\nterminated\n")]
)
def test_a_chat_through_a_pipe_ends_by_a_signal(mlxbuild: CommandLine, number: int, code: int, said: str) -> None:
    mlxbuild.built("none")
    talking = subprocess.Popen(
        [PROGRAM, "chat", "tiny:none", "--max-tokens", "3"],
        env=mlxbuild.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert talking.stdin is not None
    assert talking.stdout is not None
    talking.stdin.write("hello\n")
    talking.stdin.flush()
    assert talking.stdout.read(1)
    talking.send_signal(number)
    _, told = talking.communicate(timeout=60)
    assert (talking.returncode, told) == (code, said)


@pytest.mark.parametrize("words", [("schema",), ("list", "--json")])
def test_nobody_reads(mlxbuild: CommandLine, words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [PROGRAM, *words], env=mlxbuild.environment(), stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


IMPORTS = """
import os, sys

_, number, module = sys.argv

class Interrupting:
    def find_spec(self, name, *_):
        if name == module:
            os.kill(os.getpid(), int(number))

sys.meta_path.insert(0, Interrupting())
sys.argv = ["mlxbuild", "version"]
from mlxbuild.cli.main import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "mlxbuild.cli.version_command"])
@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "\ninterrupted\n"), (signal.SIGTERM, 143, "\nterminated\n")]
)
def test_a_signal_while_the_command_is_imported(number: int, code: int, said: str, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, str(int(number)), module], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)
