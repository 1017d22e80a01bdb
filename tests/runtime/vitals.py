"""What a runner says of itself once a second, as of later than now."""

from __future__ import annotations

import asyncio

from mlxbuild.runtime.protocol.loaded import Heartbeat
from mlxbuild.runtime.runner.client import Runner


async def told_anew(runner: Runner) -> Heartbeat:
    """What it is after now: of two new signs of life the first may have been under way."""
    for _ in range(2):
        before = runner.statistics()
        while runner.statistics() is before:
            assert runner.alive
            await asyncio.sleep(0.02)
    return runner.statistics()


async def at_rest(runner: Runner) -> Heartbeat:
    """The same when nothing is under way any more."""
    while (now := await told_anew(runner)).engine.running or now.requests_waiting:
        pass
    return now
