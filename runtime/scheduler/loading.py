"""The way from an artifact in the store to a runner that holds it. When that is done: `residency`."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from registry.artifact.folder import model_folder
from registry.digest import Digest
from registry.home import Home
from registry.reference import Reference
from registry.store.layout import Store
from runtime.runner.client import Runner
from runtime.scheduler.checkpoint import Checkpoint
from runtime.scheduler.hold import blobs_held
from runtime.scheduler.limits import Limits
from runtime.scheduler.need import Need
from runtime.scheduler.soundness import Soundness

Admit = Callable[[Reference, Digest], Digest]
"""Lets an artifact be run under a name, or raises; returns the artifact to run, which may be a completed one.

It is called in a thread.
"""


class Loading:
    """Loads models of one store, for one event loop."""

    def __init__(self, store: Store, admit: Admit, limits: Limits) -> None:
        self.store = store
        self._admit = admit
        self._limits = limits
        self._soundness = Soundness(store)
        self._scratch = _scratch(store.home)

    async def admit(self, reference: Reference, digest: Digest) -> None:
        """Only ask whether an artifact may be run under a name.

        Raises:
            MlxbuildError: it may not.
        """
        await asyncio.to_thread(self._admit, reference, digest)

    async def need(self, reference: Reference, digest: Digest) -> Need:
        """How much memory an artifact takes; raises as `admit` does, and when it cannot be read."""
        async with blobs_held(self.store.home):
            runnable = await asyncio.to_thread(self._admit, reference, digest)
            return await asyncio.to_thread(Need.of, self.store, runnable)

    async def start(self, reference: Reference, digest: Digest, *, memory_bytes: int) -> Runner:
        """A runner that holds it. Its files are hashed meanwhile, those that were not before.

        Raises:
            BlobMissing, BlobCorrupt: they are not what they should be.
            RunnerDied, RunnerStalled, OutOfMemory: the process did not come to hold it.
            MlxbuildError: it is not admitted, or cannot be loaded.
        """
        async with blobs_held(self.store.home):
            runnable = await asyncio.to_thread(self._admit, reference, digest)
            folder = await asyncio.to_thread(model_folder, self.store, runnable)
            hashing = asyncio.create_task(self._require_sound(runnable))
            starting = asyncio.create_task(
                Runner.start(
                    folder,
                    self._scratch,
                    memory_bytes=memory_bytes,
                    rows=self._limits.rows,
                    patience=self._limits.patience,
                )
            )
            try:
                # In this order: what is damaged may also fail to load, with a less telling error.
                await asyncio.wait((hashing, starting), return_when=asyncio.FIRST_EXCEPTION)
                await hashing
                return await starting
            except BaseException:
                hashing.cancel()
                starting.cancel()
                for outcome in await asyncio.gather(hashing, starting, return_exceptions=True):
                    if isinstance(outcome, Runner):
                        await outcome.kill()
                raise

    async def _require_sound(self, runnable: Digest) -> None:
        checkpoint = Checkpoint()
        try:
            await asyncio.to_thread(self._soundness.require, runnable, checkpoint)
        finally:
            checkpoint.give_up()


def _scratch(home: Home) -> Path:
    """Below the home, where that can be written to."""
    folder = home.cache / "runners"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="mlxbuild-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="mlxbuild-"))
