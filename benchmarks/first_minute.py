"""A real model: how long its first requests wait after a load, and its speed beside what a user would pick instead."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from string import ascii_lowercase
from typing import Any

from benchmarks import servers
from benchmarks.finding import Finding
from benchmarks.measurement import side_by_side
from benchmarks.servers import Server
from benchmarks.streams import at_once
from benchmarks.workplace import Home, fresh_folder, fresh_home
from tests.real import models

_AT_ONCE = 8
_LATER_EIGHTS = 2
_ANSWER_TOKENS = 48
_PROMPT_TOKENS = 96
_QUESTIONS = (
    "Why is the sky blue?",
    "Tell me of a fox and a hen who share one house.",
    "What is a lock?",
    "Name three rivers of Europe and say where each begins.",
    "Write a poem about rain.",
    "How do I boil an egg?",
    "What is the capital of France, and what would a visitor see there in three days?",
    "Explain photosynthesis.",
)


def measure(runs: int) -> Iterator[Finding]:
    """First eights, then prefill and decode of one stream; nothing where the real models are not there."""
    if not models.SMOLLM2.exists():
        raise RuntimeError("the model is missing: `make models` fetches it")
    with fresh_home() as home, fresh_folder() as folder:
        _build(home, folder)
        for variant in ("int8", "none"):
            name = f"smollm2:{variant}"
            with servers.ours(home) as server:
                yield _first_eights(server, name, runs)
        exported = folder / "none"
        home.run("export", "smollm2:none", exported)
        with servers.ours(home) as server:
            with servers.mlx_lm(exported) as peer:
                yield from _one_stream((server, "smollm2:none"), (peer, str(exported)), runs, "mlx_lm.server", 1.0)
            if servers.llama_cpp_command() is None:
                return  # a row for machines that have it
            with servers.llama_cpp(models.SMOLLM2_GGUF) as peer:
                name = "llama.cpp, Q4_1"
                yield from _one_stream((server, "smollm2:int8"), (peer, "smollm2"), runs, name, None)


def _build(home: Home, folder: Path) -> None:
    shutil.copytree(models.SMOLLM2, folder / "model", copy_function=_linked)
    recipe = {
        "schema": "mlxbuild/v1",
        "name": "smollm2",
        "version": "1.0",
        "base": {"path": "model"},
        "license": "Apache-2.0",
        "variants": {"quantization": ["int8", "none"]},
    }
    (folder / "smollm2.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    home.run("create", "-f", folder / "smollm2.yaml")


def _linked(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def _first_eights(server: Server, name: str, runs: int) -> Finding:
    """How long the last of eight requests at once waits for its first token: the first eight, and later ones."""
    first, later = [], []
    for run in range(runs):
        _ask(server, {"model": name})  # loads it
        first.append(_eight(server, name, run))
        later += [_eight(server, name, 1000 * (eight + 1) + run) for eight in range(_LATER_EIGHTS)]
        _ask(server, {"model": name, "keep_alive": 0})
    what = f"{name}: first token of the last of eight at once after a load"
    return Finding(what, "s", median(first), 2.0, median(later), "later eights")


def _eight(server: Server, name: str, salt: int) -> float:
    bodies = [_body(name, f"{salt}. {question}", _ANSWER_TOKENS) for question in _QUESTIONS]
    return max(stream.first_seconds for stream in at_once(server.port, bodies, _AT_ONCE).streams)


def _one_stream(
    ours: tuple[Server, str], peer: tuple[Server, str], runs: int, peer_name: str, bound: float | None
) -> Iterator[Finding]:
    """Prompt tokens, then answer tokens, a second; answers are asked for alone, and prompts are all new."""
    salt = iter(range(1_000_000))

    def speeds(server: Server, name: str) -> tuple[float, float]:
        letters = " ".join(ascii_lowercase[place * 7 % 26] for place in range(_PROMPT_TOKENS))  # a token each
        load = at_once(server.port, [_body(name, f"{next(salt)} {letters}. Tell a story.", _ANSWER_TOKENS)], 1)
        (stream,) = load.streams
        after = max(stream.arrivals[-1] - stream.arrivals[0], 1e-9)
        return _PROMPT_TOKENS / stream.first_seconds, (stream.tokens - 1) / after

    mine, theirs = side_by_side(runs, lambda: speeds(*ours), lambda: speeds(*peer))
    for place, what in enumerate(("prompt read, first token included", "answer written")):
        figures = [median(run[place] for run in side) for side in (mine, theirs)]
        yield Finding(f"{ours[1]}, one stream: {what}", "tokens/s", figures[0], bound, figures[1], peer_name, True)


def _ask(server: Server, body: Mapping[str, Any]) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/api/generate",
        json.dumps({"stream": False, **body}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        answer.read()


def _body(name: str, question: str, tokens: int) -> dict[str, Any]:
    return {
        "model": name,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": tokens,
    }
