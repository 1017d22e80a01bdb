"""The ways in which processes that compute come to their end, and the exit code that each must have."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MODEL = "smollm2:none"
QUESTION = "France's capital?"
"""Its answer ends by itself, when a step more is laid out already."""
STORY = "Tell me a long story."
RECIPES = {
    name: f"""\
name: {name}
version: "1.0"
base: {{path: model}}
license: Apache-2.0
system_prompt: Brief.
quantization: none
tests:
  - complete: {{messages: [{{role: user, content: "{prompt}"}}], {answer}}}
"""
    for name, prompt, answer in (
        ("smollm2", QUESTION, "expect: {contains: Paris}"),
        ("storyteller", STORY, "temperature: 1, max_tokens: 2000, expect: {regex: .}"),
    )
}
"""Recipes by their folders."""

_PROGRAM = Path(sys.executable).with_name("mlxbuild")
_PROGRAMS = Path(__file__).parent / "programs"
_STEPS = ("convert", "tokenizer", "template", "pack", "gate")
_LONG_PROMPT = "The quick brown fox jumps over the lazy dog. " * 600


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens to a process before its end."""

    kind: signal.Signals | Literal["closed pipe"]
    after: Literal["text", "seconds"]
    """Its first text; or a while, in which it starts, loads, and reads a prompt."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way."""

    name: str
    command: Sequence[str | Path]
    stdin: str = ""
    disturbance: Disturbance | None = None
    code: int = 0
    says: str = ""
    """What its output contains."""


def _mlxbuild(name: str, *words: str, **more: object) -> Case:
    return Case(name, (_PROGRAM, *words), **more)  # type: ignore[arg-type]


def _python(name: str, program: str, prompt: str, **more: object) -> Case:
    return Case(name, (sys.executable, _PROGRAMS / program, MODEL, prompt), **more)  # type: ignore[arg-type]


_AGAIN = [word for step in _STEPS for word in ("--refresh", step)]
_GREEDY = ("--temperature", "0")
_SHORT = ("--max-tokens", "16")
_LONG = ("--temperature", "1", "--seed", "1")

USUAL = (
    _mlxbuild("run", "run", MODEL, QUESTION, *_GREEDY, says="Paris"),
    _mlxbuild("create with a gate", "create", "-f", "smollm2", *_AGAIN, says=MODEL),
    _mlxbuild(
        "create with a gate, by processes", "create", "-f", "smollm2", "--executor", "process", *_AGAIN, says=MODEL
    ),
    _mlxbuild("chat from a pipe", "chat", MODEL, *_GREEDY, *_SHORT, stdin=f"{QUESTION}\nThank you.\n", says="Paris"),
    _mlxbuild("bench", "bench", MODEL, "--streams", "2", "--tokens", "2", "--prompt-words", "1", says="TOKENS/S"),
    _python("a Python program", "answers.py", QUESTION, says="Paris"),
)
"""As it should be."""

DISTURBED = (
    _python("a Python program that leaves an answer", "leaves_an_answer.py", STORY),
    _python("a Python program that fails", "fails.py", STORY, code=1),
    _python("a Python program with a thread at work", "answers_in_threads.py", STORY, says="begun"),
    _python("a Python program that forks", "forks.py", QUESTION, says="Paris"),
    _python(
        "a Python program, interrupted",
        "answers.py",
        STORY,
        disturbance=Disturbance(signal.SIGINT, "text"),
        code=-signal.SIGINT,  # as Python ends by it
    ),
    _mlxbuild(
        "run, interrupted", "run", MODEL, STORY, *_LONG, disturbance=Disturbance(signal.SIGINT, "text"), code=130
    ),
    _mlxbuild(
        "run with a long prompt, interrupted",
        *("run", MODEL),
        stdin=_LONG_PROMPT,
        disturbance=Disturbance(signal.SIGINT, "seconds"),
        code=130,
    ),
    _mlxbuild(
        "run, terminated", "run", MODEL, STORY, *_LONG, disturbance=Disturbance(signal.SIGTERM, "text"), code=143
    ),
    _mlxbuild(
        "run with a long prompt, terminated",
        *("run", MODEL),
        stdin=_LONG_PROMPT,
        disturbance=Disturbance(signal.SIGTERM, "seconds"),
        code=143,
    ),
    _mlxbuild(
        "run into a closed pipe", "run", MODEL, STORY, *_LONG, disturbance=Disturbance("closed pipe", "text"), code=141
    ),
    _mlxbuild(
        "chat from a pipe, interrupted",
        *("chat", MODEL, *_LONG),
        stdin=f"{STORY}\n{STORY}\n",
        disturbance=Disturbance(signal.SIGINT, "text"),
        code=130,
    ),
    _mlxbuild(
        "create with a gate, interrupted",
        *("create", "-f", "storyteller", *_AGAIN),
        disturbance=Disturbance(signal.SIGINT, "seconds"),
        code=130,
    ),
    _mlxbuild(
        "create by processes, terminated",
        *("create", "-f", "storyteller", "--executor", "process", *_AGAIN),
        disturbance=Disturbance(signal.SIGTERM, "seconds"),
        code=143,
    ),
    _mlxbuild(
        "bench, interrupted",
        *("bench", MODEL, "--streams", "2", "--tokens", "400"),
        disturbance=Disturbance(signal.SIGINT, "seconds"),
        code=130,
    ),
)
"""As it happens."""
