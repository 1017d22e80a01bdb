"""Compiles the kernels of a model's decode step in another process, so that no answer waits for g++.

MLX compiles each kernel when it is first needed, and all computation waits for it. So another process first runs one
decode step (`runtime.engine.core.step`) of the same model. Its kernels are kept for all runners of models with the same
code and shapes, which find them by name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.engine.core.decode_step import WORTHWHILE_BYTES, DecodeStep, can_compile
from mlxbuild.runtime.engine.core.kv_cache import fresh
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.model.load import load_weights
from mlxbuild.runtime.runner.orphan import end_with_parent

_PATIENCE_SECONDS = 300
_POLITENESS = 19


def compile_steps(model: LoadedModel) -> None:
    """Switch a model to compiled decode steps as soon as their kernels are ready; returns at once.

    Without a compiler, or where there is nothing to gain, its steps stay uncompiled.
    """
    holding = model.weights.holding
    is_worthwhile = holding.device == "cpu" and holding.size_bytes <= WORTHWHILE_BYTES
    if sys.platform == "linux" and is_worthwhile and shutil.which("g++") and not os.environ.get("MLX_DISABLE_COMPILE"):
        threading.Thread(target=_prepare, args=(model,), name="kernels", daemon=True).start()


def _prepare(model: LoadedModel) -> None:
    scratch = Path(tempfile.gettempdir())
    kept = scratch.parent / "kernels" / _name(model.folder)
    try:
        if not kept.exists():
            _compile(model.folder, scratch / "aside", kept)
        _link(kept, scratch)
        model.engine.compile_steps()
    except (OSError, subprocess.SubprocessError):
        traceback.print_exc()  # steps stay uncompiled
    except MlxbuildError:
        return  # the engine ended meanwhile


def _name(folder: Path) -> str:
    """A name shared by models with the same code, dtypes and shapes, which have the same kernels."""
    told = f"{version('mlx')} {version('mlx-lm')} ".encode() + (folder / "config.json").read_bytes()
    return hashlib.sha256(told).hexdigest()[:16]


def _compile(folder: Path, aside: Path, kept: Path) -> None:
    """Compile kernels into a folder of their own, and rename it to `kept` when it is complete."""
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o700)
    command = (sys.executable, "-I", "-m", "mlxbuild.runtime.runner.kernels", str(folder), str(os.getpid()))
    environment = {**os.environ, "TMPDIR": str(aside)}
    subprocess.run(command, env=environment, check=True, timeout=_PATIENCE_SECONDS)
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        aside.replace(kept)
    except OSError:
        if not kept.exists():  # else another runner was faster
            raise


def _link(kept: Path, scratch: Path) -> None:
    """Link the kernels into the folder where this process looks for them."""
    for file in kept.rglob("*.so"):
        place = scratch / file.relative_to(kept)
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            place.hardlink_to(file)


def _take_a_step(folder: Path) -> None:
    import mlx.core as mx

    model = load_weights(folder).model
    layers = fresh(model)
    model(mx.array([[0]]), cache=layers)
    if can_compile(layers):
        step = DecodeStep(model)
        step.compile()
        mx.eval(step(mx.array([0], dtype=mx.uint32), layers))


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    os.nice(_POLITENESS)
    _take_a_step(Path(sys.argv[1]))
