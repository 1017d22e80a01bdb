"""Loads an artifact from the store into a runner; `residency` decides when."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mlxbuild.registry.artifact.folder import model_folder
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.verified_blobs import VerifiedBlobs
from mlxbuild.registry.trust.policy import Stamp, policy_stamp
from mlxbuild.runtime.model.batched import remember
from mlxbuild.runtime.model.drafting import DraftUnusable, require_writing
from mlxbuild.runtime.residency.checkpoint import Checkpoint
from mlxbuild.runtime.residency.draft_models import DraftModel, DraftModels
from mlxbuild.runtime.residency.hold import blobs_held
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.memory_need import MemoryNeed, facts_of
from mlxbuild.runtime.runner.client import Runner

Admit = Callable[[Reference, Digest], Digest]
"""Checks that an artifact may be run under a name; returns the one to run, which may be a completed copy.

It is called in a thread.
"""


log = logging.getLogger(__name__)


class Loading:
    """Loads models of one store. Not thread-safe: for one event loop."""

    def __init__(self, store: Store, admit: Admit, limits: Limits, drafts: DraftModels | None = None) -> None:
        self.store = store
        self._admit = admit
        self._limits = limits
        self._drafts = drafts or DraftModels()
        self._soundness = VerifiedBlobs(store)
        self._scratch = _scratch(store.home)

    def policy(self) -> Stamp:
        """A stamp of the trust policy; models admitted under another stamp have to be admitted again."""
        return policy_stamp(self.store.home)

    async def admit(self, reference: Reference, digest: Digest, draft: DraftModel | None = None) -> None:
        """Check that an artifact and its draft may be run under a name.

        Raises:
            MlxbuildError: one of them may not be run.
        """
        await asyncio.to_thread(self._runnable, reference, digest, draft)

    async def draft(self, reference: Reference, digest: Digest) -> DraftModel | None:
        """The draft of an artifact, None for embedding models; raises as `admit` and `Drafts.of` do."""
        if not self._drafts.names:
            return None
        async with blobs_held(self.store.home):
            return await asyncio.to_thread(self._draft, reference, digest)

    async def need(self, reference: Reference, digest: Digest, draft: DraftModel | None = None) -> MemoryNeed:
        """The memory that an artifact and its draft need; raises as `admit` does, and if they cannot be read.

        Raises:
            DraftUnusable: the draft is an embedding model.
        """
        async with blobs_held(self.store.home):
            return await asyncio.to_thread(lambda: MemoryNeed.of(self.store, *self._runnable(reference, digest, draft)))

    async def start(
        self, reference: Reference, digest: Digest, draft: DraftModel | None = None, *, memory_bytes: int
    ) -> Runner:
        """Start a runner that loads an artifact and its draft. Meanwhile their unverified files are hashed.

        Raises:
            BlobMissing, BlobCorrupt: a file is missing, or does not match its digest.
            RunnerDied, RunnerStalled, OutOfMemory: the process could not load them.
            DraftUnusable: the draft is an embedding model, or has a different vocabulary.
            MlxbuildError: one of them is not admitted, or cannot be loaded.
        """
        async with blobs_held(self.store.home):
            runnable = await asyncio.to_thread(self._runnable, reference, digest, draft)
            folder, *drafting = [await asyncio.to_thread(model_folder, self.store, each) for each in runnable]
            hashing = asyncio.create_task(self._require_sound(runnable))
            starting = asyncio.create_task(
                Runner.start(
                    folder,
                    self._scratch,
                    draft=next(iter(drafting), None),
                    memory_bytes=memory_bytes,
                    max_sequences=self._limits.max_sequences,
                    kv_bits=self._limits.kv_bits,
                    patience=self._limits.patience,
                )
            )
            try:
                # The hashing first: a damaged file may also fail to load, with a less helpful error.
                await asyncio.wait((hashing, starting), return_when=asyncio.FIRST_EXCEPTION)
                await hashing
                runner = await starting
            except BaseException as error:
                hashing.cancel()
                starting.cancel()
                for outcome in await asyncio.gather(hashing, starting, return_exceptions=True):
                    if isinstance(outcome, Runner):
                        await outcome.kill()
                if draft is not None and isinstance(error, DraftUnusable):
                    raise draft.told(error) from None
                raise
        if "completion" in runner.loaded.capabilities:
            await asyncio.to_thread(remember, self.store.home, digest, runner.loaded.batched)
        if self._limits.kv_bits and runner.loaded.kv_bits is None and "completion" in runner.loaded.capabilities:
            log.warning("keys and values of %s cannot be kept in %d bits", reference, self._limits.kv_bits)
        return runner

    def _draft(self, reference: Reference, digest: Digest) -> DraftModel | None:
        draft = self._drafts.of(self.store, reference, digest)
        if draft is None or facts_of(self.store, self._admit(reference, digest)).embedding is not None:
            return None
        return draft

    def _runnable(self, reference: Reference, digest: Digest, draft: DraftModel | None) -> list[Digest]:
        """The artifact to run and that of its draft, if there is one, after both are admitted."""
        runnable = [self._admit(reference, digest)]
        if draft is not None:
            try:
                runnable.append(self._admit(draft.reference, draft.digest))
                require_writing(facts_of(self.store, runnable[-1]), str(draft.reference))
            except MlxbuildError as error:
                raise draft.told(error) from None
        return runnable

    async def _require_sound(self, runnable: Sequence[Digest]) -> None:
        checkpoint = Checkpoint()
        try:
            for each in runnable:
                digests = [file.blob.digest for file in Artifact.open(self.store, each).files]
                await asyncio.to_thread(self._soundness.require, digests, checkpoint)
        finally:
            checkpoint.give_up()


def _scratch(home: Home) -> Path:
    """The folder for runners' temporary files: below the home if that is writable, else a temporary one."""
    folder = home.cache / "runners"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="mlxbuild-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="mlxbuild-"))
