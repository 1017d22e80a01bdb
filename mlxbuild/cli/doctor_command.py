"""`mlxbuild doctor`: checks whether this machine and this home can build and run models."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.freeing import advice
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.version_command import installed
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.oci.remote.settings import FILE_NAME
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.mlx_lm.surface import missing
from mlxbuild.runtime.model.blas import matrix_library, prefer_openblas

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_ENOUGH_BYTES = 5 * 10**9
_MATRIX_LIBRARIES = {
    "openblas": "OpenBLAS",
    "accelerate": "Accelerate",
    "reference": "the reference BLAS of MLX's wheel: answers come two to three times as fast with OpenBLAS "
    "(Debian and Ubuntu: `apt-get install libopenblas0`)",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of the diagnosis."""

    what: str
    is_good: bool
    detail: str
    hint: str | None = None


@app.command(cls=Command, epilog="mlxbuild doctor")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this machine and this home; exits with 6 if there is a problem."""
    findings = [finding for examine in (_python, _mlx, _home, _tools) for finding in examine()]
    if as_json:
        say_json([{"what": f.what, "ok": f.is_good, "detail": f.detail, "hint": f.hint} for f in findings])
    else:
        for finding in findings:
            say(f"{'ok  ' if finding.is_good else 'BAD '} {finding.what}: {finding.detail}")
            if finding.hint and not finding.is_good:
                say(f"     hint: {finding.hint}")
        with suppress(MlxbuildError, OSError):  # which the findings above tell of
            if (sentence := advice(Store.open(chosen_home()))) is not None:
                tell(sentence)
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(6)


def _mlx_lm() -> Iterator[Finding]:
    try:
        lacking = missing()
    except ModuleNotFoundError as error:
        yield Finding("mlx-lm", False, str(error), "install `mlx-lm`")
        return
    told = f"lacks {', '.join(lacking)}" if lacking else "has all that mlxbuild uses of it"
    yield Finding("mlx-lm", not lacking, f"{installed('mlx-lm')}, {told}", "install a release that mlxbuild asks for")


def _python() -> Iterator[Finding]:
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Finding("python", sys.version_info >= (3, 11), detail, "use Python 3.11 or newer")


def _mlx() -> Iterator[Finding]:
    prefer_openblas()  # has to be before MLX is loaded, as in every process that computes
    try:
        import mlx.core as mx

        total = mx.sum(mx.ones((4, 4))).item()
        device = str(mx.default_device())
    except (ImportError, RuntimeError) as error:
        extra = "mlx[cpu]" if sys.platform == "linux" else "mlx"
        yield Finding("mlx", False, str(error), f"install `{extra}`; on Linux MLX needs glibc 2.35 or newer")
        return
    yield Finding("mlx", total == 16, f"{installed('mlx')}, computes on {device}")
    yield from _mlx_lm()
    if "cpu" in device:
        yield Finding("matrix library", True, _MATRIX_LIBRARIES[matrix_library()])


def _home() -> Iterator[Finding]:
    home = chosen_home()
    yield _try(
        "home", lambda: _writable(home), "choose another with MLXBUILD_HOME, or fix its permissions", str(home.root)
    )
    yield _try("settings", lambda: _readable_settings(home), "see the message", str(home.root / FILE_NAME))
    yield _try("store", lambda: f"{len(Store.open(home).tags.items())} names", "see the message", str(home.store))
    folder = next(parent for parent in (home.root, *home.root.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    yield Finding("disk", free > _ENOUGH_BYTES, f"{format_bytes(free)} free", "`mlxbuild gc` frees space")


def _writable(home: Home) -> str:
    for folder in (home.root, home.cache, home.logs, home.models):
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=home.root):
        return f"{home.root} can be written to"


def _readable_settings(home: Home) -> str:
    from mlxbuild.configuration.resolve import DEFAULT_ORIGIN, configure

    origins = configure(home, os.environ).origins.values()
    return f"{sum(origin != DEFAULT_ORIGIN for origin in origins)} of the server's are set"


def _try(what: str, examine: Callable[[], str], hint: str, place: str) -> Finding:
    try:
        return Finding(what, True, examine())
    except MlxbuildError as error:
        detail = error.message if error.where is None else f"{error.message} ({error.where})"
        return Finding(what, False, detail, error.hint)
    except OSError as error:
        return Finding(what, False, f"{error.filename or place}: {error.strerror}", hint)


def _tools() -> Iterator[Finding]:
    found = shutil.which("g++") or shutil.which("clang++")
    if sys.platform == "linux":
        detail = found or "none: MLX then runs fused operations one by one, which is slower but correct"
        yield Finding("C++ compiler", True, detail)
