"""`mlxbuild create` with nothing to do beside a two-stage `dvc repro` with nothing to do, over the same model.

DVC lives in an environment of its own, made on first use; its analytics and its look for updates are off.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

from benchmarks.finding import Finding
from benchmarks.measurement import Cost, middle, run, side_by_side
from benchmarks.workplace import FOLDER, OFFLINE, Recipe, fresh_folder, fresh_home, locked_recipe

_LAYERS = 24


def measure(runs: int) -> Iterator[Finding]:
    """Wall time of both."""
    dvc = _installed_dvc()
    with locked_recipe(_LAYERS, quantization="int4") as recipe, fresh_home() as home, fresh_folder() as pipeline:
        home.create(recipe)
        _set_up_pipeline(dvc, pipeline, recipe)
        ours, peers = side_by_side(runs, lambda: home.create(recipe), lambda: _reproduce(dvc, pipeline))
    seconds = middle(ours, lambda cost: cost.wall_seconds), middle(peers, lambda cost: cost.wall_seconds)
    yield Finding("create with nothing to do: wall", "s", seconds[0], 0.5, seconds[1], "dvc repro")
    seconds = middle(ours, lambda cost: cost.cpu_seconds), middle(peers, lambda cost: cost.cpu_seconds)
    yield Finding("create with nothing to do: processor time", "s", seconds[0], None, seconds[1], "dvc repro")


def _installed_dvc() -> Path:
    folder = FOLDER / "dvc"
    program = folder / "bin" / "dvc"
    if not program.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", "dvc"], check=True)
    return program


def _set_up_pipeline(dvc: Path, folder: Path, recipe: Recipe) -> None:
    """Two stages, run once: the conversion, and the chat template that goes with it."""
    convert = f"{sys.executable} -m mlx_lm convert --hf-path {recipe.model} --mlx-path int4 -q --q-bits 4"
    template = (
        f"{sys.executable} -c \"import shutil; shutil.copy('{recipe.model}/tokenizer_config.json', 'chat.json')\""
    )
    stages = {
        "convert": {"cmd": convert, "deps": [str(recipe.model)], "outs": ["int4"]},
        "template": {"cmd": template, "deps": ["int4", f"{recipe.model}/tokenizer_config.json"], "outs": ["chat.json"]},
    }
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}, indent=1), encoding="utf-8")
    run([dvc, "init", "--no-scm"], folder=folder)
    for option in ("core.analytics", "core.check_update"):
        run([dvc, "config", option, "false"], folder=folder)
    _reproduce(dvc, folder)


def _reproduce(dvc: Path, folder: Path) -> Cost:
    return run([dvc, "repro"], folder=folder, environment=OFFLINE)
