"""Reads prompts into layer caches, a part at a time, so that running answers need not wait for a whole prompt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.engine.layers import Layers, always_rewinds, can_merge, merged, quantized, shared
from runtime.engine.prefix_cache import PrefixCache
from runtime.engine.row import Row

SHORT_TOKENS = 256
"""Prompts with at most as many tokens left are read together."""
_TOKENS_BETWEEN_CHECKPOINTS = 2048


@dataclass(slots=True)
class Reading:
    """A prompt on its way into layer caches: all of it but the last token."""

    row: Row
    layers: Layers
    waiting: list[int]
    """Tokens that are still to be read."""
    stops: list[int] = field(default_factory=list)
    """Counts of tokens at which a checkpoint is kept; ascending."""


@dataclass(frozen=True, slots=True)
class Read:
    """Rows whose prompts are read, ready to join a batch."""

    rows: list[Row]
    layers: Layers
    is_merged: bool


class Prefill:
    """The prompts that are being read. Each part goes to the oldest one and to the shortest one in turn."""

    def __init__(self, model: Any, prefixes: PrefixCache) -> None:
        self._model = model
        self._prefixes = prefixes
        self._readings: list[Reading] = []
        self._turn = 0
        self.seconds_per_token = 0.0
        """Of the last part; 0 before the first."""

    @property
    def rows(self) -> list[Row]:
        """Rows whose prompts are not read yet, oldest first."""
        return [reading.row for reading in self._readings]

    def begin(self, row: Row, *, group_size: int | None = None) -> None:
        """Read the tokens of a row from now on, as far as the prefix cache does not have them.

        `group_size` is that of quantized keys and values, for a row that asks for them.
        """
        layers, reused = self._prefixes.take(row.tokens, row.kind)
        if row.prepared.options.kv_bits is not None and group_size is not None and not reused:
            layers = quantized(layers, row.prepared.options.kv_bits, group_size)
        row.begin(reused)
        stops: list[int] = []
        if not always_rewinds(layers):
            regular = range(_TOKENS_BETWEEN_CHECKPOINTS, len(row.tokens), _TOKENS_BETWEEN_CHECKPOINTS)
            stops = sorted({*row.prepared.boundaries, *regular})
        stops = [stop for stop in stops if reused < stop < len(row.tokens) - 1]
        self._readings.append(Reading(row, layers, row.tokens[reused:-1], stops))

    def drop(self, rows: Sequence[Row]) -> None:
        """Read no further for some rows; what was read of a prompt is kept in the prefix cache."""
        gone = {id(row) for row in rows}
        for reading in self._readings:
            if id(reading.row) in gone:
                self._keep(reading)
        self._readings = [reading for reading in self._readings if id(reading.row) not in gone]

    def advance(self, limit_tokens: int) -> tuple[list[Row], Read | None]:
        """Read a part of at most that many tokens: the rows that got further, and those that are through."""
        reading = self._next()
        if len(reading.waiting) <= min(limit_tokens, SHORT_TOKENS) and can_merge(reading.layers):
            together = self._fitting(reading, limit_tokens)
            if len(together) > 1:
                return self._read_together(together)
        if reading.waiting:
            self._read_part(reading, limit_tokens)
        if reading.waiting:
            return [reading.row], None
        self._readings.remove(reading)
        self._keep(reading)
        return [reading.row], Read([reading.row], reading.layers, is_merged=False)

    def _next(self) -> Reading:
        self._turn += 1
        oldest = self._readings[0]
        return oldest if self._turn % 2 else min(self._readings, key=lambda reading: len(reading.waiting))

    def _fitting(self, first: Reading, limit_tokens: int) -> list[Reading]:
        """Short prompts that, padded to the longest of them, are one part together."""
        together, longest = [first], len(first.waiting)
        for reading in self._readings:
            if reading is first or len(reading.waiting) > SHORT_TOKENS or reading.stops or first.stops:
                continue
            if max(longest, len(reading.waiting)) * (len(together) + 1) <= limit_tokens:
                longest = max(longest, len(reading.waiting))
                together.append(reading)
        return together

    def _read_part(self, reading: Reading, limit_tokens: int) -> None:
        import mlx.core as mx

        row = reading.row
        count = min(limit_tokens, len(reading.waiting))
        if reading.stops:
            count = min(count, reading.stops[0] - row.cached_tokens)
        begun = time.perf_counter()
        self._model(mx.array(reading.waiting[:count])[None], cache=reading.layers)
        mx.eval([layer.state for layer in reading.layers])
        self.seconds_per_token = (time.perf_counter() - begun) / count
        mx.clear_cache()
        row.cached_tokens += count
        del reading.waiting[:count]
        if reading.stops and reading.stops[0] == row.cached_tokens:
            del reading.stops[0]
            self._keep(reading)

    def _read_together(self, readings: list[Reading]) -> tuple[list[Row], Read]:
        import mlx.core as mx

        lengths = [len(reading.waiting) for reading in readings]
        longest = max(lengths)
        layers = merged([reading.layers for reading in readings])
        begun = time.perf_counter()
        if longest:
            padding = [longest - length for length in lengths]
            if any(padding):
                for layer in layers:
                    layer.prepare(lengths=lengths, right_padding=padding)
            padded = [reading.waiting + [0] * missing for reading, missing in zip(readings, padding, strict=True)]
            self._model(mx.array(padded), cache=layers)
            if any(padding):
                for layer in layers:
                    layer.finalize()
            mx.eval([layer.state for layer in layers])
            self.seconds_per_token = (time.perf_counter() - begun) / (longest * len(readings))
        rows = [reading.row for reading in readings]
        for row in rows:
            row.cached_tokens = len(row.tokens) - 1
        done = {id(row) for row in rows}
        self._readings = [reading for reading in self._readings if id(reading.row) not in done]
        return rows, Read(rows, layers, is_merged=True)

    def _keep(self, reading: Reading) -> None:
        row = reading.row
        self._prefixes.keep(row.tokens[: row.cached_tokens], shared(reading.layers), row.kind)
