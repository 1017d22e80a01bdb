"""Mixed load on `mlxbuild serve` for a long time: does memory grow, do descriptors leak, does a request get stuck?

    python -m benchmarks.soak --minutes 20

Twelve people chat, stream, leave in the middle, call tools, ask for JSON and vectors, send nonsense, and want more
models than may be loaded; now and then a runner is killed. One model is pinned, so that its runner works all the time.
It prints a line a minute, and exits with 1 if a bound is broken.

Whether something grows is told by medians: that of the last quarter of the time may be above that of the second by
little more than the figures vary within a quarter.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]

from benchmarks import servers
from benchmarks.people import ACTS, KILLED, STUCK, Act, Person, live
from benchmarks.workplace import fresh_home

_HELLO = Path(__file__).parent.parent / "examples" / "hello"
_PEOPLE = 12
_SETTINGS = {"MLXBUILD_MAX_LOADED_MODELS": "2", "MLXBUILD_PIN": "hello:int4"}
_SAMPLE_SECONDS = 15.0
_KILL_SECONDS = 300.0
_REST_SECONDS = 3.0
_SERVER_GROWTH = 0.04
_RUNNER_GROWTH = 0.06
"""Of the pinned model, whose caches come and go."""
_MORE_DESCRIPTORS = 5
Seen = Counter[tuple[Act, str]]


@dataclass(frozen=True, slots=True)
class _Sample:
    """A server at one moment."""

    server_bytes: int
    runner_bytes: int
    """Of the pinned model's."""
    descriptors: int


class _Watch:
    """Looks at a server while people use it, and kills runners."""

    def __init__(self, server: psutil.Process) -> None:
        """For a server that holds its pinned model, and no other yet."""
        self.server = server
        (self.pinned,) = server.children()
        self.samples: list[_Sample] = []
        self.kills = 0

    async def look(self, until: float, seen: Seen) -> None:
        """Take samples until a moment of the monotonic clock."""
        began = time.monotonic()
        minutes = 0
        while (now := time.monotonic()) < until:
            await asyncio.sleep(min(_SAMPLE_SECONDS, until - now))
            self._take()
            seconds = time.monotonic() - began
            if seconds >= 60 * (minutes + 1) or seconds >= until - began:
                minutes += 1
                self._tell(minutes, seen)
            if seconds >= _KILL_SECONDS * (self.kills + 1):
                self._kill()

    def _take(self) -> None:
        rss = self.server.memory_info().rss
        self.samples.append(_Sample(rss, self.pinned.memory_info().rss, self.server.num_fds()))

    def _tell(self, minute: int, seen: Seen) -> None:
        last = self.samples[-1]
        sys.stdout.write(
            f"minute {minute}: {seen.total()} requests, server {_mebibytes(last.server_bytes)} MiB, "
            f"pinned runner {_mebibytes(last.runner_bytes)} MiB, {last.descriptors} descriptors, "
            f"{self.server.num_threads()} threads, {len(self.server.children())} runners\n"
        )
        sys.stdout.flush()

    def _kill(self) -> None:
        """One runner but the pinned; its requests have to be told."""
        others = [runner for runner in self.server.children() if runner != self.pinned]
        if others:
            with suppress(psutil.NoSuchProcess):
                random.choice(others).send_signal(signal.SIGKILL)
                self.kills += 1


async def _soak(port: int, server: psutil.Process, minutes: float) -> bool:
    base = f"http://127.0.0.1:{port}"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=_PEOPLE)
    async with httpx.AsyncClient(base_url=base, timeout=None) as client:
        while (await client.get("/api/health?ready")).status_code != 200:
            await asyncio.sleep(0.1)
    watch = _Watch(server)
    seen: Seen = Counter()
    until = time.monotonic() + 60 * minutes
    async with httpx.AsyncClient(base_url=base, timeout=None, limits=limits) as client:
        people = [asyncio.create_task(live(Person(client, seed), until, seen)) for seed in range(_PEOPLE)]
        await watch.look(until, seen)
        await asyncio.gather(*people)
    async with httpx.AsyncClient(base_url=base) as client:
        await asyncio.sleep(_REST_SECONDS)
        residents = (await client.get("/api/ps")).json()["models"]
    return _judged({**_of_requests(seen, watch.kills), **_of_the_server(watch, residents)}, seen)


def _of_requests(seen: Seen, kills: int) -> Mapping[str, bool]:
    """What has to hold of the answers, and whether it does."""
    stuck = sum(count for (_, outcome), count in seen.items() if outcome == STUCK)
    killed = sum(count for (_, outcome), count in seen.items() if outcome == KILLED)
    wrong = sum(count for (act, outcome), count in seen.items() if outcome not in (act.right, KILLED, STUCK))
    missing = [act.name for act in ACTS if not seen[act, act.right]]
    return {
        f"{stuck} requests got stuck": not stuck,
        f"{wrong} requests had another outcome than the right one": not wrong,
        f"{killed} requests lost their runners, of which {kills} were killed": killed <= kills * _PEOPLE,
        f"everything was done{''.join(f', but: {name}' for name in missing)}": not missing,
    }


def _of_the_server(watch: _Watch, residents: Sequence[Mapping[str, int]]) -> Mapping[str, bool]:
    """What has to hold of the server while people used it, and when they have gone."""
    second, last = _quarters(watch.samples)
    descriptors = [statistics.median(sample.descriptors for sample in each) for each in (second, last)]
    at_rest = watch.server.num_fds()
    busy = sum(resident["requests"] for resident in residents)
    runners = watch.server.children()
    zombies = sum(runner.status() == psutil.STATUS_ZOMBIE for runner in runners)
    told = {
        f"{descriptors[0]:g} descriptors in the second quarter, {descriptors[1]:g} in the last": (
            descriptors[1] <= descriptors[0] + _MORE_DESCRIPTORS
        ),
        f"{at_rest} descriptors when nobody is there": at_rest <= descriptors[0] + _MORE_DESCRIPTORS,
        f"{busy} requests are still being answered": not busy,
        f"{len(residents)} models are loaded, by {len(runners)} processes, of which {zombies} have ended": (
            len(residents) == len(runners) and not zombies
        ),
        "the pinned model was never loaded again": watch.pinned.is_running(),
    }
    for what, name, most in (
        ("server", "server_bytes", _SERVER_GROWTH),
        ("pinned runner", "runner_bytes", _RUNNER_GROWTH),
    ):
        before, after = (statistics.median(getattr(sample, name) for sample in each) for each in (second, last))
        growth = after / before - 1
        line = f"{what}: {_mebibytes(before)} MiB in the second quarter, {_mebibytes(after)} in the last: {growth:+.1%}"
        told[f"{line} (at most {most:+.0%})"] = growth <= most
    return told


def _quarters(samples: Sequence[_Sample]) -> tuple[Sequence[_Sample], Sequence[_Sample]]:
    """The second and the last."""
    size = len(samples) // 4
    return samples[size : 2 * size], samples[-size:]


def _judged(claims: Mapping[str, bool], seen: Seen) -> bool:
    for (act, outcome), count in sorted(seen.items(), key=lambda item: (item[0][0].name, item[0][1])):
        sys.stdout.write(f"  {count:7} {act.name}: {outcome}{'' if outcome in (act.right, KILLED) else ' (WRONG)'}\n")
    for claim, holds in claims.items():
        sys.stdout.write(f"{'holds' if holds else 'BROKEN'}: {claim}\n")
    return all(claims.values())


def _mebibytes(size_bytes: float) -> str:
    return f"{size_bytes / 2**20:.1f}"


def main() -> None:
    """Soak, tell, and judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="at least 2; slow growth shows from 8 on")
    minutes = parser.parse_args().minutes
    if minutes < 2:
        parser.error("too short to tell whether anything grows")
    with fresh_home() as home:
        home.run("create", "-f", _HELLO)
        with servers.ours(home, environment=_SETTINGS) as server:
            fine = asyncio.run(_soak(server.port, psutil.Process(server.process.pid), minutes))
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
