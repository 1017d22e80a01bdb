"""The scheduler: an iteration is a step of all sequences, then a chunk of a prompt; who may begin, by memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.registry.core.errors import EnvironmentFailure, UserError
from mlxbuild.runtime.engine.core.batch import Batch, Written
from mlxbuild.runtime.engine.core.batching import EVERYTHING, Batching
from mlxbuild.runtime.engine.core.kv_budget import KVBudget, expected_answer_tokens
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.logits_processors import Penalties
from mlxbuild.runtime.engine.core.prefill import Part, Prefill, Ready
from mlxbuild.runtime.engine.core.prefill_budget import PrefillBudget
from mlxbuild.runtime.engine.core.prefix_cache import PrefixCache
from mlxbuild.runtime.engine.core.sequence import SequenceState
from mlxbuild.runtime.engine.core.speculative_decoding import ModelPair, Speculation
from mlxbuild.runtime.engine.core.statistics import Statistics
from mlxbuild.runtime.engine.core.step import Step
from mlxbuild.runtime.engine.core.step_times import StepTimes
from mlxbuild.runtime.protocol.events import Event, Progress
from mlxbuild.runtime.protocol.failures import as_failure

_PART_TOKENS = 512


class MemoryTooSmall(EnvironmentFailure):
    """A prompt needs more memory than the KV caches may take."""

    code = "memory-too-small"


class CacheNotQuantizable(UserError):
    """Keys and values of the model cannot be kept in fewer bits."""

    code = "cache-not-quantizable"


@dataclass
class Counts:
    """What was done since the engine's start."""

    prompt_tokens: int = 0
    reused_tokens: int = 0
    answer_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    iterations: int = 0
    postponed: int = 0
    got_on_at: float = field(default_factory=time.monotonic)
    """See `Statistics.got_on_at`."""


class Scheduler:
    """The requests of an engine between submission and ending. For the engine's thread alone."""

    def __init__(
        self,
        model: Any,
        step: Step,
        limits: Limits,
        draft: Any = None,
        batching: Batching = EVERYTHING,
        *,
        checkpoint: Callable[[], None],
    ) -> None:
        """For a model of mlx-lm with its `step`, and a smaller one that drafts for it; nothing is computed yet.

        A cache without a limit may grow without one. `checkpoint` is called while a prompt is read, before each layer,
        and may raise.
        """
        self._model = model
        self._step_of_batch = step
        self._rows = limits.rows
        self._cache_bytes = limits.cache_bytes
        self._batching = batching
        self._prefixes = PrefixCache(model, self._prefix_bytes(limits))
        self._prefill = Prefill(model, self._prefixes, batching, checkpoint)
        self._shared: list[Batch] = []
        """Rows of about one length each: the shorter ones of a batch are padded to its longest."""
        self._alone = Batch(step)
        """Of one row that cannot be computed together with others."""
        self._pair = None if draft is None else ModelPair(model, draft)
        self._speculation = None if self._pair is None else Speculation(self._pair)
        """Of one row that came when nothing else was to do."""
        self._waiting: deque[SequenceState] = deque()
        self._prefill_budget = PrefillBudget(most=limits.part_tokens or _PART_TOKENS)
        self._measuring = StepTimes(self._prefill_budget, self._prefill.settle)
        self._kv_budget = KVBudget(model, draft)
        self._tick_seconds = 0.0
        self.counts = Counts()

    def add(self, row: SequenceState) -> None:
        """Take a request; it begins when there is room, after those that came before."""
        self._waiting.append(row)

    def drop(self, row: SequenceState) -> None:
        """Leave a request; what was computed for it is kept as a prefix."""
        if row in self._waiting:
            self._waiting.remove(row)
        self._prefill.drop([row])
        for batch in self._batches():
            if row in batch.rows:
                self._leave(batch, [row])

    def iterate(self) -> list[SequenceState]:
        """One step of everything; returns the rows that are done, and have been told so."""
        begun = time.perf_counter()
        self.counts.iterations += 1
        written = self.counts.answer_tokens
        done = [*self._admit(), *self._given_up()]
        running = [batch for batch in self._batches() if batch.rows]
        self._measuring.begin()
        for batch in running:
            done += self._write(batch, batch.step())
        self._measuring.stepped(has_written=self.counts.answer_tokens > written)
        part = self._read(running) if self._prefill.rows else None
        self._tick_seconds = time.perf_counter() - begun
        if done or part or self.counts.answer_tokens > written:
            self.counts.got_on_at = time.monotonic()
        return done

    def limit(self, limits: Limits) -> None:
        """Keep to other limits on memory. Answers that have begun go on, or wait in their middle."""
        import mlx.core as mx

        self._cache_bytes = limits.cache_bytes
        self._prefixes.limit(self._prefix_bytes(limits))
        mx.clear_cache()

    def rest(self) -> None:
        """There is nothing to do for a while: give back what MLX holds for next time."""
        import mlx.core as mx

        mx.clear_cache()

    def statistics(self, *, failures: int, working_since: float | None) -> Statistics:
        """As things stand."""
        running = self._running()
        return Statistics(
            running=len(running),
            waiting=len(self._waiting),
            prompt_tokens=self.counts.prompt_tokens,
            reused_tokens=self.counts.reused_tokens,
            answer_tokens=self.counts.answer_tokens,
            drafted_tokens=self.counts.drafted_tokens,
            accepted_tokens=self.counts.accepted_tokens,
            iterations=self.counts.iterations,
            tick_seconds=self._tick_seconds,
            working_since=working_since,
            got_on_at=self.counts.got_on_at,
            postponed=self.counts.postponed,
            failures=failures,
            is_compiled=self._step_of_batch.is_compiled,
            cache_bytes=self._kv_budget.expected_bytes(running),
            prefixes=self._prefixes.figures(),
        )

    def _admit(self) -> list[SequenceState]:
        """Let those begin for whom there is room, in order; returns those that can never begin."""
        refused: list[SequenceState] = []
        for row in tuple(self._waiting):
            reason = self._refusal(row)
            if reason is not None:
                row.tell([as_failure(reason)])
                refused.append(row)
            elif not self._merges(row) and not all(map(self._merges, self._running())):
                continue  # its place is taken; those behind it may have another
            elif not self._has_room_for(row):
                break
            else:
                self._choose_kind(row)
                model = self._pair if row.is_drafted else None
                self._prefill.add(row, model=model, group_size=self._kv_budget.kv_cache_size.group_size)
            self._waiting.remove(row)
        return refused

    def _given_up(self) -> list[SequenceState]:
        """Rows whose prompts nobody needs read any more, because telling of it failed."""
        rows = [row for row in self._prefill.rows if row.failure is not None]
        self._prefill.drop(rows)
        return rows

    def _refusal(self, row: SequenceState) -> MemoryTooSmall | CacheNotQuantizable | None:
        if row.prepared.options.kv_bits and self._kv_budget.kv_cache_size.group_size is None:
            return CacheNotQuantizable("keys and values of this model cannot be quantized", hint="leave kv_bits out")
        fitting = None if self._cache_bytes is None else self._kv_budget.tokens_in(self._cache_bytes, row)
        if fitting is None:
            return None
        room = fitting - len(row.prepared.tokens)
        if room < 1:
            return MemoryTooSmall(
                f"the prompt has {len(row.prepared.tokens)} tokens, and memory is there for {fitting}",
                hint="shorten the prompt, or give the model more memory",
            )
        row.writer.limit = room if row.writer.limit is None else min(room, row.writer.limit)
        return None

    def _has_room_for(self, row: SequenceState) -> bool:
        running = self._running()
        fits = self._cache_bytes is None or self._kv_budget.expected_bytes([*running, row]) <= self._cache_bytes
        return not running or (len(running) < self._rows and fits)

    def _choose_kind(self, row: SequenceState) -> None:
        """Have an answer drafted when it is the only one, and memory is there for the caches of both models.

        What was drafted once goes on so when it comes back.
        """
        options = row.prepared.options
        is_steered = row.prepared.constraint is not None or Penalties.of(row.prepared, row.tokens) is not None
        if self._pair is None or row.is_drafted or is_steered or not options.draft_tokens or self._running():
            return
        needed_bytes = self._kv_budget.expected_bytes([row]) + self._kv_budget.draft_bytes(row)
        fits = self._cache_bytes is None or needed_bytes <= self._cache_bytes
        row.is_drafted = fits and self._pair.can_speculate and self._batching.reads_in_parts

    def _running(self) -> list[SequenceState]:
        return [*(row for batch in self._batches() for row in batch.rows), *self._prefill.rows]

    def _batches(self) -> list[Batch | Speculation]:
        self._shared = [batch for batch in self._shared if batch.rows]
        batches: list[Batch | Speculation] = [*self._shared, self._alone]
        return batches if self._speculation is None else [*batches, self._speculation]

    def _merges(self, row: SequenceState) -> bool:
        joins = self._batching.joins_empty if len(row.prepared.tokens) == 1 else self._batching.joins
        return joins and not row.kind and self._kv_budget.kv_cache_size.merges

    def _prefix_bytes(self, limits: Limits) -> int:
        """Beginnings of prompts are of no use to a model that reads no prompt in parts."""
        return (limits.prefix_bytes or 0) if self._batching.reads_in_parts else 0

    def _write(self, batch: Batch | Speculation, tokens: Sequence[Written]) -> list[SequenceState]:
        """Tell rows of a batch what a step gave them; returns those that are done."""
        events: dict[SequenceState, list[Event]] = {}
        if isinstance(batch, Speculation):
            self.counts.drafted_tokens += batch.drafted_tokens
            self.counts.accepted_tokens += batch.accepted_tokens
        for written in tokens:
            row = written.row
            if row.failure is None and row.writer.reason is None:
                try:
                    events.setdefault(row, []).extend(row.writer.add(written.token, written.scores))
                    self.counts.answer_tokens += 1
                except Exception as error:  # noqa: BLE001 - whatever it is, other rows go on
                    row.failure = error
        for row, told in events.items():
            row.tell(told)
        done = [row for row in batch.rows if row.writer.reason is not None or row.failure is not None]
        for row in done:
            if row.failure is not None:
                row.tell([as_failure(row.failure)])
        if done:
            self._leave(batch, done)
        self._make_room(batch)
        return done

    def _leave(self, batch: Batch | Speculation, rows: Sequence[SequenceState]) -> None:
        self._measuring.disturb()
        for row, layers in batch.leave(rows, keeping=rows if self._prefixes.is_used else ()):
            self._prefixes.keep(row.tokens[: row.cached_tokens], layers, row.kind)

    def _make_room(self, batch: Batch | Speculation) -> None:
        """When answers came to be longer than expected, and memory is short, have the youngest wait in its middle."""
        while self._cache_bytes is not None and len(batch.rows) > 1:
            if sum(self._kv_budget.taken_bytes(other.rows) for other in self._batches()) <= self._cache_bytes:
                return
            youngest = batch.rows[-1]
            self._leave(batch, [youngest])
            self._waiting.appendleft(youngest)
            self.counts.postponed += 1

    def _read(self, running: Sequence[Batch | Speculation]) -> Part | None:
        """Read a part of a prompt, after a step of running answers if there are any."""
        count = sum(len(batch.rows) for batch in running)
        chunk = self._prefill_budget.chunk(count, len(self._prefill.rows))
        if chunk is None:
            return None
        if chunk.is_measured:
            for batch in running:
                if isinstance(batch, Batch):
                    batch.wait()
        begun = time.perf_counter()
        part = self._prefill.advance(chunk)
        self._measuring.was_read(part.tokens, part.layers, begun, is_alone=not count, is_measured=chunk.is_measured)
        for row in part.rows:
            row.tell([Progress(row.cached_tokens, len(row.prepared.tokens))])
        if part.ready is not None:
            new = [row for row in part.ready.rows if not row.writer.answer_tokens]  # others come back after a wait
            self.counts.prompt_tokens += sum(len(row.prepared.tokens) for row in new)
            self.counts.reused_tokens += sum(row.writer.reused_tokens for row in new)
            self._join(part.ready)
        return part

    def _join(self, ready: Ready) -> None:
        batch = self._batch_for(ready.rows)
        if isinstance(batch, Batch):
            expected = max(map(expected_answer_tokens, ready.rows))
            batch.join(ready.rows, ready.layers, is_merged=ready.is_merged, expected_tokens=expected)
        else:
            batch.join(ready.rows, ready.layers, is_merged=ready.is_merged)

    def _batch_for(self, rows: Sequence[SequenceState]) -> Batch | Speculation:
        """The batch that rows are to join: one of their own where padding costs more than reading the weights again."""
        if rows[0].is_drafted and self._speculation is not None:
            return self._speculation
        if not self._merges(rows[0]):
            return self._alone

        def padding_bytes(batch: Batch) -> int:
            taken = self._kv_budget.taken_bytes
            return taken([*batch.rows, *rows]) - taken(batch.rows) - taken(rows)

        best = min(self._shared, key=padding_bytes, default=None)
        if best is None or padding_bytes(best) > self._kv_budget.kv_cache_size.weights_bytes:
            best = Batch(self._step_of_batch)
            self._shared.append(best)
        return best
