"""Runs every way to end so many times, with OpenBLAS and without: `python -m tests.exits COUNT`. Exits with 1 if one
hangs, dies by a signal, ends with another exit code, or says something else than it should.

`--only TEXT` takes the cases whose names contain it, as `run (OpenBLAS)`; `--usual` those that nobody disturbs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.exits.cases import DISTURBED, RECIPES, USUAL, Case, Disturbance
from tests.real.models import FOLDER, SMOLLM2

_DEADLINE_SECONDS = 90
_AT_ONCE = 2


def main() -> None:
    """Run the cases, and tell of each in a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="how often each case runs")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--usual", action="store_true", help="no interrupts, and nothing of the kind")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have background jobs ignore it
    cases = USUAL if asked.usual else (*USUAL, *DISTURBED)
    with tempfile.TemporaryDirectory(prefix="exits-", dir=FOLDER.parent) as temporary:
        folder = Path(temporary)
        environment = _prepared(folder)
        without = {**environment, "LD_LIBRARY_PATH": str(_without_openblas(folder))}
        if not _has_openblas(environment) or _has_openblas(without):
            sys.exit("OpenBLAS is missing (apt-get install libopenblas0-pthread), or cannot be kept away")
        _build(folder, environment)
        failed = 0
        for name, each in (("OpenBLAS", environment), ("MLX's own", without)):
            for case in cases:
                if asked.only in (whole := f"{case.name} ({name})"):
                    failed += _tell(whole, case, folder, each, asked.count)
    sys.exit(1 if failed else 0)


def _prepared(folder: Path) -> Mapping[str, str]:
    """Recipes in a folder, and the environment of the processes."""
    for name, recipe in RECIPES.items():
        (folder / name).mkdir()
        (folder / name / "model").symlink_to(SMOLLM2)
        (folder / name / "ModelSpec.yaml").write_text(recipe, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "MLXBUILD_VERBOSE")}
    return {**kept, "MLXBUILD_HOME": str(folder / "home"), "MLXBUILD_PORT": "1"}


def _without_openblas(folder: Path) -> Path:
    """A folder in which the loader finds a file of that name, and no library."""
    place = folder / "libraries"
    place.mkdir()
    (place / "libopenblas.so.0").touch()
    return place


def _has_openblas(environment: Mapping[str, str]) -> bool:
    asking = "from mlxbuild.runtime.model.blas import prefer_openblas; print(prefer_openblas())"
    done = subprocess.run([sys.executable, "-c", asking], env=environment, check=True, capture_output=True, text=True)
    return done.stdout == "True\n"


def _build(folder: Path, environment: Mapping[str, str]) -> None:
    command = (Path(sys.executable).with_name("mlxbuild"), "create", "--no-gates")
    for name in RECIPES:
        subprocess.run([*command, "-f", name], cwd=folder, env=environment, check=True, capture_output=True)
    subprocess.run([*command[:2], "-f", "smollm2"], cwd=folder, env=environment, check=True, capture_output=True)


def _tell(name: str, case: Case, folder: Path, environment: Mapping[str, str], count: int) -> int:
    """Run a case, and print a line: how often it ended how, and the longest time that it took to leave."""
    chance = random.Random(name)
    delays = [chance.random() for _ in range(count)]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        ends = list(threads.map(lambda delay: _ended(case, folder, environment, delay), delays))
    outcomes = Counter(outcome for outcome, _ in ends)
    told = ", ".join(f"{times} {outcome}" for outcome, times in outcomes.most_common())
    leaving = max(seconds for _, seconds in ends)
    print(f"{name}: {told}{'' if case.disturbance is None else f'; left within {leaving:.1f} s'}", flush=True)
    return count - outcomes["as expected"]


def _ended(case: Case, folder: Path, environment: Mapping[str, str], delay: float) -> tuple[str, float]:
    """How a process ended, and how many seconds after it was disturbed. `delay` is from 0 to 1."""
    process = subprocess.Popen(
        case.command,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    disturbed = time.monotonic()
    try:
        if case.disturbance is None:
            out, told = process.communicate(case.stdin.encode(), timeout=_DEADLINE_SECONDS)
        else:
            process.stdin.write(case.stdin.encode())
            process.stdin.close()
            process.stdin = None
            _disturb(process, case.disturbance, delay)
            disturbed = time.monotonic()
            out, told = process.communicate(timeout=_DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "hanging", float(_DEADLINE_SECONDS)
    seconds = time.monotonic() - disturbed
    if process.returncode != case.code:
        code = process.returncode
        _show(case, told)
        return (f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"), seconds
    if case.says not in (out or b"").decode():
        _show(case, (out or b"") + told)
        return "with another answer", seconds
    return "as expected", seconds


def _disturb(process: subprocess.Popen[bytes], disturbance: Disturbance, delay: float) -> None:
    assert process.stdout is not None
    if disturbance.after == "text":
        os.read(process.stdout.fileno(), 1)
        time.sleep(delay / 2)
    else:
        time.sleep(1 + 3 * delay)
    if disturbance.kind == "closed pipe":
        process.stdout.close()
        process.stdout = None
    else:
        process.send_signal(disturbance.kind)


def _show(case: Case, told: bytes) -> None:
    lines = told.decode(errors="replace").strip().splitlines()[-8:]
    print("\n".join(f"  {case.name}: {line}" for line in lines), file=sys.stderr)


if __name__ == "__main__":
    main()
