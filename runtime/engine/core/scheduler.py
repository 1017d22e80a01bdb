"""The scheduler: each iteration decodes one step of all sequences, then prefills a chunk; it admits by memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.registry.core.errors import EnvironmentFailure, UserError
from mlxbuild.runtime.engine.core.batch import Batch, SampledToken
from mlxbuild.runtime.engine.core.batching import EVERYTHING, Batching
from mlxbuild.runtime.engine.core.decode_step import DecodeStep
from mlxbuild.runtime.engine.core.kv_budget import KVBudget, expected_answer_tokens
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.logits_processors import Penalties
from mlxbuild.runtime.engine.core.prefill import Prefill, PrefilledChunk, Ready
from mlxbuild.runtime.engine.core.prefill_budget import PrefillBudget
from mlxbuild.runtime.engine.core.prefix_cache import PrefixCache
from mlxbuild.runtime.engine.core.sequence import SequenceState
from mlxbuild.runtime.engine.core.speculative_decoding import ModelPair, Speculation
from mlxbuild.runtime.engine.core.step_times import StepTimes
from mlxbuild.runtime.protocol.events import Event, Progress
from mlxbuild.runtime.protocol.failures import as_failure
from mlxbuild.runtime.protocol.statistics import EngineStatistics

_CHUNK_TOKENS = 512


class MemoryTooSmall(EnvironmentFailure):
    """A prompt needs more memory than the KV caches may take."""

    code = "memory-too-small"


class CacheNotQuantizable(UserError):
    """Keys and values of the model cannot be quantized."""

    code = "cache-not-quantizable"


@dataclass
class Counts:
    """Counters since the engine's start."""

    prompt_tokens: int = 0
    reused_tokens: int = 0
    answer_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    iterations: int = 0
    postponed: int = 0
    progressed_at: float = field(default_factory=time.monotonic)
    """See `EngineStatistics.progressed_at`."""


class Scheduler:
    """Schedules the requests of an engine from submission to finish: admission, prefill, decoding, preemption.

    Only for the engine's thread.
    """

    def __init__(
        self,
        model: Any,
        step: DecodeStep,
        limits: Limits,
        draft: Any = None,
        batching: Batching = EVERYTHING,
        *,
        checkpoint: Callable[[], None],
    ) -> None:
        """`step` and `draft` belong to the same model of mlx-lm; nothing is computed yet.

        Without a limit a cache may grow freely. `checkpoint` is called before each layer of a prefill, and may raise.
        """
        self._model = model
        self._step = step
        self._most_sequences = limits.max_sequences
        self._cache_bytes = limits.cache_bytes
        self._batching = batching
        self._prefixes = PrefixCache(model, self._prefix_bytes(limits))
        self._prefill = Prefill(model, self._prefixes, batching, checkpoint)
        self._shared: list[Batch] = []
        """Batches of sequences of similar length, as the shorter ones of a batch are padded to its longest."""
        self._alone = Batch(step)
        """A sequence that cannot be batched."""
        self._pair = None if draft is None else ModelPair(model, draft)
        self._speculation = None if self._pair is None else Speculation(self._pair)
        """A sequence decoded with the draft model, which joined while nothing else was running."""
        self._waiting: deque[SequenceState] = deque()
        self._prefill_budget = PrefillBudget(most=limits.prefill_chunk_tokens or _CHUNK_TOKENS)
        self._measuring = StepTimes(self._prefill_budget, self._prefill.settle)
        self._kv_budget = KVBudget(model, draft)
        self._iteration_seconds = 0.0
        self.counts = Counts()

    def add(self, sequence: SequenceState) -> None:
        """Queue a request; it starts when there is memory, in the order of arrival."""
        self._waiting.append(sequence)

    def drop(self, sequence: SequenceState) -> None:
        """Cancel a request; its KV cache is kept in the prefix cache."""
        if sequence in self._waiting:
            self._waiting.remove(sequence)
        self._prefill.drop([sequence])
        for batch in self._batches():
            if sequence in batch.sequences:
                self._leave(batch, [sequence])

    def iterate(self) -> list[SequenceState]:
        """Run one iteration; returns the sequences that have finished, whose last events are delivered."""
        begun = time.perf_counter()
        self.counts.iterations += 1
        written = self.counts.answer_tokens
        done = [*self._admit(), *self._drop_failed()]
        running = [batch for batch in self._batches() if batch.sequences]
        self._measuring.begin()
        for batch in running:
            done += self._process_output(batch, batch.step())
        self._measuring.stepped(has_written=self.counts.answer_tokens > written)
        prefilled = self._prefill_chunk(running) if self._prefill.sequences else None
        self._iteration_seconds = time.perf_counter() - begun
        if done or prefilled or self.counts.answer_tokens > written:
            self.counts.progressed_at = time.monotonic()
        return done

    def limit(self, limits: Limits) -> None:
        """Set new memory limits. Running sequences go on, or are preempted."""
        import mlx.core as mx

        self._cache_bytes = limits.cache_bytes
        self._prefixes.limit(self._prefix_bytes(limits))
        mx.clear_cache()

    def release_memory(self) -> None:
        """Return the memory that MLX keeps for reuse, as the engine is idle."""
        import mlx.core as mx

        mx.clear_cache()

    def statistics(self, *, failures: int, working_since: float | None) -> EngineStatistics:
        """Counters and the current state."""
        running = self._running()
        return EngineStatistics(
            running=len(running),
            waiting=len(self._waiting),
            **vars(self.counts),
            iteration_seconds=self._iteration_seconds,
            working_since=working_since,
            failures=failures,
            is_compiled=self._step.is_compiled,
            cache_bytes=self._kv_budget.expected_bytes(running),
            prefixes=self._prefixes.figures(),
        )

    def _admit(self) -> list[SequenceState]:
        """Start the prefill of waiting sequences that fit, in order; returns those that can never fit."""
        refused: list[SequenceState] = []
        for sequence in tuple(self._waiting):
            reason = self._refusal(sequence)
            if reason is not None:
                sequence.tell([as_failure(reason)])
                refused.append(sequence)
            elif not self._can_join(sequence) and not all(map(self._can_join, self._running())):
                continue  # sequences behind it may still fit
            elif not self._has_room_for(sequence):
                break
            else:
                self._choose_kind(sequence)
                model = self._pair if sequence.is_drafted else None
                self._prefill.add(sequence, model=model, group_size=self._kv_budget.kv_cache_size.group_size)
            self._waiting.remove(sequence)
        return refused

    def _drop_failed(self) -> list[SequenceState]:
        """Remove sequences from prefill whose events could not be delivered."""
        sequences = [sequence for sequence in self._prefill.sequences if sequence.failure is not None]
        self._prefill.drop(sequences)
        return sequences

    def _refusal(self, sequence: SequenceState) -> MemoryTooSmall | CacheNotQuantizable | None:
        if sequence.prepared.options.kv_bits and self._kv_budget.kv_cache_size.group_size is None:
            return CacheNotQuantizable("keys and values of this model cannot be quantized", hint="leave kv_bits out")
        fitting = None if self._cache_bytes is None else self._kv_budget.tokens_in(self._cache_bytes, sequence)
        if fitting is None:
            return None
        room = fitting - len(sequence.prepared.tokens)
        if room < 1:
            return MemoryTooSmall(
                f"the prompt has {len(sequence.prepared.tokens)} tokens, but there is memory for only {fitting}",
                hint="shorten the prompt, or give the model more memory",
            )
        sequence.writer.limit = room if sequence.writer.limit is None else min(room, sequence.writer.limit)
        return None

    def _has_room_for(self, sequence: SequenceState) -> bool:
        running = self._running()
        fits = self._cache_bytes is None or self._kv_budget.expected_bytes([*running, sequence]) <= self._cache_bytes
        return not running or (len(running) < self._most_sequences and fits)

    def _choose_kind(self, sequence: SequenceState) -> None:
        """Use speculative decoding for an answer that is alone, if there is memory for the caches of both models.

        A sequence that was decoded so before a preemption stays so.
        """
        options = sequence.prepared.options
        is_steered = (
            sequence.prepared.constraint is not None or Penalties.of(sequence.prepared, sequence.tokens) is not None
        )
        if self._pair is None or sequence.is_drafted or is_steered or not options.draft_tokens or self._running():
            return
        needed_bytes = self._kv_budget.expected_bytes([sequence]) + self._kv_budget.draft_bytes(sequence)
        fits = self._cache_bytes is None or needed_bytes <= self._cache_bytes
        sequence.is_drafted = fits and self._pair.can_speculate and self._batching.prefills_in_chunks

    def _running(self) -> list[SequenceState]:
        return [*(sequence for batch in self._batches() for sequence in batch.sequences), *self._prefill.sequences]

    def _batches(self) -> list[Batch | Speculation]:
        self._shared = [batch for batch in self._shared if batch.sequences]
        batches: list[Batch | Speculation] = [*self._shared, self._alone]
        return batches if self._speculation is None else [*batches, self._speculation]

    def _can_join(self, sequence: SequenceState) -> bool:
        joins = self._batching.joins_empty if len(sequence.prepared.tokens) == 1 else self._batching.joins
        return joins and not sequence.kind and self._kv_budget.kv_cache_size.merges

    def _prefix_bytes(self, limits: Limits) -> int:
        """The budget of the prefix cache, which is useless for a model without chunked prefill."""
        return (limits.prefix_bytes or 0) if self._batching.prefills_in_chunks else 0

    def _process_output(self, batch: Batch | Speculation, tokens: Sequence[SampledToken]) -> list[SequenceState]:
        """Deliver the tokens of a step to the sequences of a batch; returns those that have finished."""
        events: dict[SequenceState, list[Event]] = {}
        if isinstance(batch, Speculation):
            self.counts.drafted_tokens += batch.drafted_tokens
            self.counts.accepted_tokens += batch.accepted_tokens
        for sampled in tokens:
            sequence = sampled.sequence
            if sequence.failure is None and sequence.writer.reason is None:
                try:
                    events.setdefault(sequence, []).extend(sequence.writer.add(sampled.token, sampled.scores))
                    self.counts.answer_tokens += 1
                except Exception as error:  # noqa: BLE001 - whatever it is, other sequences go on
                    sequence.failure = error
        for sequence, told in events.items():
            sequence.tell(told)
        done = [
            sequence
            for sequence in batch.sequences
            if sequence.writer.reason is not None or sequence.failure is not None
        ]
        for sequence in done:
            if sequence.failure is not None:
                sequence.tell([as_failure(sequence.failure)])
        if done:
            self._leave(batch, done)
        self._preempt(batch)
        return done

    def _leave(self, batch: Batch | Speculation, sequences: Sequence[SequenceState]) -> None:
        self._measuring.disturb()
        for sequence, cache in batch.leave(sequences, keeping=sequences if self._prefixes.is_used else ()):
            self._prefixes.keep(sequence.tokens[: sequence.cached_tokens], cache, sequence.kind)

    def _preempt(self, batch: Batch | Speculation) -> None:
        """Preempt the youngest sequences while answers exceed the expected length and memory is short."""
        while self._cache_bytes is not None and len(batch.sequences) > 1:
            if sum(self._kv_budget.taken_bytes(other.sequences) for other in self._batches()) <= self._cache_bytes:
                return
            youngest = batch.sequences[-1]
            self._leave(batch, [youngest])
            self._waiting.appendleft(youngest)
            self.counts.postponed += 1

    def _prefill_chunk(self, running: Sequence[Batch | Speculation]) -> PrefilledChunk | None:
        """Prefill a chunk after the decode step, if the budget allows."""
        count = sum(len(batch.sequences) for batch in running)
        chunk = self._prefill_budget.chunk(count, len(self._prefill.sequences))
        if chunk is None:
            return None
        if chunk.is_measured:
            for batch in running:
                if isinstance(batch, Batch):
                    batch.wait()
        begun = time.perf_counter()
        prefilled = self._prefill.advance(chunk)
        self._measuring.prefilled(
            prefilled.tokens, prefilled.layers, begun, is_alone=not count, is_measured=chunk.is_measured
        )
        for sequence in prefilled.sequences:
            sequence.tell([Progress(sequence.cached_tokens, len(sequence.prepared.tokens))])
        if prefilled.ready is not None:
            new = [
                sequence for sequence in prefilled.ready.sequences if not sequence.writer.answer_tokens
            ]  # others return from a preemption
            self.counts.prompt_tokens += sum(len(sequence.prepared.tokens) for sequence in new)
            self.counts.reused_tokens += sum(sequence.writer.reused_tokens for sequence in new)
            self._join(prefilled.ready)
        return prefilled

    def _join(self, ready: Ready) -> None:
        batch = self._batch_for(ready.sequences)
        if isinstance(batch, Batch):
            expected = max(map(expected_answer_tokens, ready.sequences))
            batch.join(ready.sequences, ready.cache, is_merged=ready.is_merged, expected_tokens=expected)
        else:
            batch.join(ready.sequences, ready.cache, is_merged=ready.is_merged)

    def _batch_for(self, sequences: Sequence[SequenceState]) -> Batch | Speculation:
        """The batch to join; a new one if padding would cost more than reading the weights once more."""
        if sequences[0].is_drafted and self._speculation is not None:
            return self._speculation
        if not self._can_join(sequences[0]):
            return self._alone

        def padding_bytes(batch: Batch) -> int:
            taken = self._kv_budget.taken_bytes
            return taken([*batch.sequences, *sequences]) - taken(batch.sequences) - taken(sequences)

        best = min(self._shared, key=padding_bytes, default=None)
        if best is None or padding_bytes(best) > self._kv_budget.kv_cache_size.weights_bytes:
            best = Batch(self._step)
            self._shared.append(best)
        return best
