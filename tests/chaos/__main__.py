"""Disturbs a server for so many minutes: a registry that misbehaves, runners that are killed, clients that leave, a
disk that is full and free again, builds that are killed. `python -m tests.chaos MINUTES`.

Exits with 1 if something gets stuck or lost, an answer is wrong, an error is a bug, or memory or descriptors grow.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.chaos import actors
from tests.chaos.actors import QUESTIONS, Fault, Stage
from tests.chaos.flaky_registry import FlakyRegistry
from tests.chaos.serve import ChaosServer, Sample
from tests.real.models import SMOLLM2
from tests.registries import docker_registry

_ROOT = Path(__file__).parents[2]
_DISK = "3g"
_STUCK_SECONDS = 1200
_TELL_SECONDS = 300
_SMOL = """\
name: smol
version: "1.0"
base: {path: model}
license: Apache-2.0
defaults: {temperature: 0}
variants:
  quantization: [int8, none]
"""
_ACTORS: tuple[Callable[[Stage, random.Random], str], ...] = (
    actors.ask,
    actors.ask,
    actors.leave,
    actors.dawdle,
    actors.dawdle,
    actors.pull,
    actors.pull,
    actors.pull,
    actors.push,
    actors.build,
    actors.collect,
    actors.kill_a_child,
    actors.fill_the_disk,
)


def main() -> None:
    """Run it, in a mount namespace of its own so that the disk can be filled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if "MLXBUILD_CHAOS_DISK" not in os.environ:
        with tempfile.TemporaryDirectory(prefix="chaos-") as disk:
            script = f'mount -t tmpfs -o size={_DISK} none {disk} && exec "$@"'
            command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", sys.executable, "-m"]
            done = subprocess.run(
                [*command, "tests.chaos", *sys.argv[1:]], env=os.environ | {"MLXBUILD_CHAOS_DISK": disk}, check=False
            )
        sys.exit(done.returncode)
    sys.exit(_run(Path(os.environ["MLXBUILD_CHAOS_DISK"]), asked.minutes * 60, asked.seed))


def _run(disk: Path, seconds: float, seed: int) -> int:
    with tempfile.TemporaryDirectory(prefix="chaos-work-") as temporary:
        folder = Path(temporary)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLXBUILD_", "OLLAMA_"))}
        environment = kept | {
            "PROGRAM": str(Path(sys.executable).with_name("mlxbuild")),
            "MLXBUILD_HOME": str(disk / "home"),
            "MLXBUILD_PROGRESS": "none",
        }
        with docker_registry(folder / "registry") as upstream, FlakyRegistry(upstream.host, seed) as flaky:
            server = ChaosServer([environment["PROGRAM"]], environment, folder / "serve.log")
            stage = Stage(server, flaky, folder, environment)
            run = _Run(stage, seed)
            try:
                digests = _prepare(stage)
                begun = time.monotonic()
                run.act(seconds)
                problems = [*run.problems, *_aftermath(stage, digests, begun)]
                _report(run, server.samples, flaky)
            finally:
                server.kill()
    for problem in problems:
        print(f"FAULT: {problem}", flush=True)
    print(f"{len(problems)} faults", flush=True)
    return 1 if problems else 0


def _prepare(stage: Stage) -> dict[str, str]:
    """Build the models, push one, start the server, and learn the right answers; the names and digests of the store."""
    smol = stage.folder / "smol"
    smol.mkdir()
    (smol / "model").symlink_to(SMOLLM2)
    (smol / "ModelSpec.yaml").write_text(_SMOL, encoding="utf-8")
    hello = shutil.copytree(_ROOT / "examples" / "hello", stage.folder / "hello") / "ModelSpec.yaml"
    hello.write_text(hello.read_text(encoding="utf-8").partition("\ntests:")[0] + "\n", encoding="utf-8")
    for recipe in ("smol", "hello"):
        _expect(stage, "create", "-f", recipe)
    stage.registry.calm = True
    name = f"{stage.registry.host}/chaos/hello:int4"
    _expect(stage, "cp", "hello:int4", name)
    _expect(stage, "push", name)
    stage.registry.calm = False
    stage.server.start()
    for api_chance in range(12):
        actors.ask(stage, random.Random(api_chance))
    return _digests(stage)


def _expect(stage: Stage, *words: str) -> None:
    if (outcome := stage.ran(*words)) != "done":
        raise Fault(f"mlxbuild {' '.join(words)}: {outcome}")


def _digests(stage: Stage) -> dict[str, str]:
    models = httpx.get(f"{stage.server.url}/api/tags", timeout=60).json()["models"]
    names = [(name, model) for model in models for name in (model["name"], *model["details"]["aliases"])]
    return {name: model["digest"] for name, model in names if name in QUESTIONS}


class _Run:
    """The actors at work, each on a thread of its own."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._seed = seed
        self._over = threading.Event()
        self._restarting = threading.Lock()
        self._since: dict[str, float] = {}
        self.outcomes: dict[str, Counter[str]] = {}
        self.longest: Counter[str] = Counter()
        self.problems: list[str] = []

    def act(self, seconds: float) -> None:
        """Let them act for so long, and stop the server once after a third of it; the last two thirds are watched."""
        begun = time.monotonic()
        threads = []
        for number, actor in enumerate(_ACTORS):
            name = f"{actor.__name__} {number}"
            thread = threading.Thread(target=self._loop, args=(name, actor, random.Random(self._seed + number)))
            thread.daemon = True
            thread.start()
            threads.append(thread)
        restarted, told = False, 0
        while (passed := time.monotonic() - begun) < seconds:
            time.sleep(min(5, seconds - passed))
            self._watch(passed)
            if passed // _TELL_SECONDS > told:
                told = int(passed // _TELL_SECONDS)
                acts = sum(outcomes.total() for outcomes in self.outcomes.values())
                print(f"{passed:.0f} s: {acts} acts, {len(self.problems)} faults", flush=True)
            if not restarted and passed > seconds / 3:
                restarted = True
                self._restart()
        self._over.set()
        print(f"{len(self.problems)} faults after {passed:.0f} s; waiting for {', '.join(self._since)}", flush=True)
        ends = time.monotonic() + _STUCK_SECONDS
        for thread in threads:
            thread.join(max(ends - time.monotonic(), 0))
        self.problems += [f"{name} never came to its end" for name in self._since]

    def _loop(self, name: str, actor: Callable[[Stage, random.Random], str], chance: random.Random) -> None:
        outcomes = self.outcomes.setdefault(actor.__name__, Counter())
        while not self._over.is_set():
            self._since[name] = begun = time.monotonic()
            try:
                outcome = actor(self._stage, chance)
            except Fault as fault:
                outcome = "FAULT"
                self.problems.append(str(fault))
            except (httpx.TransportError, OSError) as error:
                outcome = f"cut ({type(error).__name__})"
                if not self._restarting.locked() and not self._stage.server.alive():
                    self.problems.append("the server died")
            except Exception:  # noqa: BLE001 (whatever it is, it is a fault, and is told)
                outcome = "FAULT"
                self.problems.append(traceback.format_exc())
            outcomes[outcome] += 1
            self.longest[actor.__name__] = max(self.longest[actor.__name__], round(time.monotonic() - begun))
            del self._since[name]
            self._over.wait(chance.uniform(0, 3))

    def _watch(self, passed: float) -> None:
        self._stage.server.sample(passed)
        now = time.monotonic()
        for name, since in list(self._since.items()):
            if now - since > _STUCK_SECONDS and (told := f"{name} is stuck") not in self.problems:
                self.problems.append(told)

    def _restart(self) -> None:
        with self._restarting:
            try:
                print(f"stopped by SIGTERM amid it all within {self._stage.server.stop():.1f} s", flush=True)
            except (subprocess.TimeoutExpired, RuntimeError) as error:
                self.problems.append(f"stopping: {error}")
            self._stage.server.start()


def _aftermath(stage: Stage, digests: dict[str, str], begun: float) -> list[str]:
    """What is wrong when all is calm again; `begun` is when the actors began, by the monotonic clock."""
    problems = []
    stage.registry.calm = True
    try:
        for number in range(24):
            if (outcome := actors.ask(stage, random.Random(number), waits=True)) != "answered":
                problems.append(f"a question afterwards: {outcome}")
        if (pulled := actors.pull(stage, random.Random(1))) not in ("done", "left"):
            problems.append(f"a pull afterwards: {pulled}")
        if (found := _digests(stage)) != digests:
            problems.append(f"names were {digests}, and are {found}")
        for name in digests:
            if (outcome := stage.ran("verify", name)) != "done":
                problems.append(f"verify {name}: {outcome}")
        if (outcome := stage.ran("gc")) != "done":
            problems.append(f"gc: {outcome}")
    except (Fault, httpx.HTTPError) as error:
        problems.append(f"afterwards: {error}")
    time.sleep(30)
    stage.server.sample(time.monotonic() - begun)
    problems += _growth(stage.server.samples)
    try:
        print(f"stopped at the end within {stage.server.stop():.1f} s", flush=True)
    except (subprocess.TimeoutExpired, RuntimeError) as error:
        problems.append(f"stopping at the end: {error}")
    log = Path(stage.environment["MLXBUILD_HOME"]) / "logs" / "serve.jsonl"
    bugs = [line for line in log.read_text(encoding="utf-8").splitlines() if '"bug"' in line or "Traceback" in line]
    problems += [f"in the log: {line[:1000]}" for line in bugs[:5]]
    left = [path for path in (Path(stage.environment["MLXBUILD_HOME"]) / "cache").rglob("*.partial") if path.is_file()]
    return problems + [f"left behind: {path}" for path in left[:5]]


def _growth(samples: list[Sample]) -> list[str]:
    """Whether the last third of the samples holds more than the first third after a warm-up."""
    if len(samples) < 30:
        return []
    settled = samples[len(samples) // 10 :]
    third = len(settled) // 3
    problems = []
    for what, slack in (("memory_bytes", 64 * 2**20), ("descriptors", 24), ("threads", 8), ("children", 3)):
        before = statistics.median(getattr(sample, what) for sample in settled[:third])
        after = statistics.median(getattr(sample, what) for sample in settled[-third:])
        if after > before * 1.1 + slack:
            problems.append(f"{what} grew from {before:.0f} to {after:.0f}")
    return problems


def _report(run: _Run, samples: list[Sample], flaky: FlakyRegistry) -> None:
    for actor, outcomes in run.outcomes.items():
        told = ", ".join(f"{times} {outcome}" for outcome, times in outcomes.most_common())
        print(f"{actor}: {told}; longest {run.longest[actor]} s")
    print("connections of the registry:", ", ".join(f"{times} {fault}" for fault, times in flaky.faults.most_common()))
    for sample in samples[:: max(len(samples) // 12, 1)]:
        print(
            f"{sample.seconds:7.0f} s  {sample.memory_bytes / 1e6:6.1f} MB  {sample.descriptors} descriptors  "
            f"{sample.threads} threads  {sample.children} children"
        )


if __name__ == "__main__":
    main()
