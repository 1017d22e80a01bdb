"""Tokens per second of `mlxbuild serve` beside `mlx_lm.server`: the same model, prompts, answers and matrix library."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import servers
from benchmarks.finding import Finding
from benchmarks.measurement import side_by_side
from benchmarks.streams import Load, at_once
from benchmarks.workplace import Home, fresh_folder, fresh_home

_HELLO = Path(__file__).parent.parent / "examples" / "hello"
_STREAMS = (1, 8, 16)
_ROUNDS = 3
"""Requests of each stream, one after another."""
_COMPILING_SECONDS = 120
_BOUNDS = {"float32": 1.0, "int4": 8.0}


def measure(runs: int) -> Iterator[Finding]:
    """All streams together, at one, eight and sixteen of them."""
    with fresh_home() as home, fresh_folder() as folder:
        names = {"float32": _float32(home, folder), "int4": "hello:int4"}
        home.run("create", "-f", _HELLO, "--variant", "int4")
        for form, name in names.items():
            exported = folder / form
            home.run("export", name, exported)
            with servers.ours(home) as server, servers.mlx_lm(exported) as peer:
                _warm(server, name)
                for count in _STREAMS:
                    yield _throughput(form, count, (server, name), (peer, str(exported)), runs)


def _warm(server: servers.Server, name: str) -> None:
    """Wait until a model is held as it will be: its steps are compiled beside its first answers."""
    at_once(server.port, _bodies(name, 1), 1)
    deadline = time.monotonic() + _COMPILING_SECONDS
    while shutil.which("g++") and time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/api/ps") as answer:
            (model,) = json.load(answer)["models"]
        if model["holding"]["compiled"]:
            return
        time.sleep(0.5)


def _float32(home: Home, folder: Path) -> str:
    recipe = folder / "float32.yaml"
    shutil.copytree(_HELLO / "model", folder / "model")
    recipe.write_text(
        "{schema: mlxbuild/v1, name: hello32, version: '1.0', base: {path: model}, dtype: float32, quantization: none}"
    )
    home.run("create", "-f", recipe)
    return "hello32"


def _throughput(
    form: str, count: int, ours: tuple[servers.Server, str], peer: tuple[servers.Server, str], runs: int
) -> Finding:
    def load(server: servers.Server, model: str) -> Load:
        return at_once(server.port, _bodies(model, count * _ROUNDS), count)

    mine, theirs = side_by_side(runs, lambda: load(*ours), lambda: load(*peer))
    what = f"{form}, {count} stream{'s' if count > 1 else ''}: tokens per second"
    speeds = [median(load.tokens_per_second for load in loads) for loads in (mine, theirs)]
    return Finding(what, "tokens/s", speeds[0], _BOUNDS[form], speeds[1], "mlx_lm.server", at_least=True)


def _bodies(model: str, count: int) -> list[dict[str, Any]]:
    questions = (_HELLO / "questions.txt").read_text(encoding="utf-8").splitlines()
    prompts = ["Tell me a story.", *(line.split("\t")[0] for line in questions)]
    return [
        {
            "model": model,
            "messages": [{"role": "user", "content": prompts[number % len(prompts)]}],
            "temperature": 0,
            "max_tokens": 200,
        }
        for number in range(count)
    ]
