"""Reads prompts into layer caches, a part at a time, so that running answers need not wait for a whole prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.engine.batching import EVERYTHING, Batching
from runtime.engine.layers import (
    Layers,
    always_rewinds,
    can_merge,
    compute,
    fresh,
    grow_by,
    merged,
    nbytes,
    quantized,
    read_padded,
    shared,
    take_apart,
)
from runtime.engine.pace import Portion
from runtime.engine.prefix_cache import PrefixCache
from runtime.engine.row import Row

_LIKE_MLX_LM_TOKENS = 2048
"""What mlx-lm's own commands read at once, always: so does a prompt whose answer hangs on it."""
SHORT_TOKENS = 256
"""Prompts with at most as many tokens left are read together."""
_TOKENS_BETWEEN_CHECKPOINTS = 2048
_COPIED_AT_ONCE_BYTES = 4 << 20
"""Copying less is no stall."""


@dataclass(slots=True)
class _Reading:
    """A prompt on its way into layer caches: all of it but the last token."""

    row: Row
    model: Any
    group_size: int | None
    waiting: list[int]
    """Tokens that are still to be read."""
    layers: Layers | None = None
    """None before it begins: until then others may read what it shares with them."""
    stops: list[int] = field(default_factory=list)
    """Counts of tokens at which a checkpoint is kept; ascending."""
    begun: int = 0
    """How many of the waiting tokens are on their way through the layers."""
    passed: int = 0
    """How many layer caches those have come to."""
    makes_room: bool = False
    """Whether those are the first of a long prompt, for all of which the layer caches are made now."""
    shared: list[Any] | None = None
    """Layer caches that are still to be taken apart from those that are kept of the prompt; None before it is read."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Rows whose prompts are read, with their layer caches: ready to join a batch."""

    rows: list[Row]
    layers: Layers
    is_merged: bool


@dataclass(frozen=True, slots=True)
class Part:
    """What was read at once."""

    rows: list[Row]
    """Those that got further."""
    tokens: int
    """Padding included."""
    layers: int
    """Through how many of the layers they went."""
    ready: Ready | None = None


class Prefill:
    """The prompts that are being read. Each part goes to the oldest one and to the shortest one in turn."""

    def __init__(
        self,
        model: Any,
        prefixes: PrefixCache,
        batching: Batching = EVERYTHING,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        """Reads only together, and in parts, what may be; the prefix cache keeps nothing where parts may not.

        `checkpoint` is called before each layer, and may raise.
        """
        self._checkpoint = checkpoint
        self._model = model
        self._batching = batching
        self._prefixes = prefixes
        self._readings: list[_Reading] = []
        self._turn = 0

    @property
    def rows(self) -> list[Row]:
        """Rows whose prompts are not read yet, oldest first."""
        return [reading.row for reading in self._readings]

    def add(self, row: Row, *, model: Any = None, group_size: int | None = None) -> None:
        """Read the tokens of a row, as far as the prefix cache does not have them when its turn comes.

        `model` is another than the usual one, for a row of another kind. `group_size` is that of quantized keys and
        values, for a row that asks for them.
        """
        known = self._prefixes.knows(row.tokens, row.kind)
        self._readings.append(_Reading(row, model or self._model, group_size, row.tokens[known:-1]))

    def drop(self, rows: Sequence[Row]) -> None:
        """Read no further for some rows; what was read of a prompt is kept in the prefix cache."""
        gone = {id(row) for row in rows}
        for reading in self._readings:
            if id(reading.row) in gone and reading.layers is not None:
                if reading.begun:
                    self._pass(reading, reading.layers, None)
                self._keep(reading.row, reading.layers)
        self._readings = [reading for reading in self._readings if id(reading.row) not in gone]

    def advance(self, portion: Portion) -> Part:
        """Read a part of a prompt, or several short prompts together."""
        reading = self._next()
        layers = self._begun(reading)
        if not reading.begun and len(reading.waiting) <= min(portion.together, SHORT_TOKENS) and self._merges(reading):
            together = self._fitting(reading, portion.together)
            if len(together) > 1:
                return self._read_together(together)
        row = reading.row
        tokens, passed = self._read(reading, layers, portion) if reading.waiting else (0, 0)
        if reading.waiting:
            return Part([] if reading.begun else [row], tokens, passed)
        if reading.shared is None:
            is_kept = self._keep(row, layers)
            reading.shared = list(layers) if is_kept and nbytes(layers) > _COPIED_AT_ONCE_BYTES else []
        while reading.shared and (portion.size is None or not tokens):
            take_apart(reading.shared.pop())
            if portion.size is not None:
                break  # the others one at a time, too
        if reading.shared:
            return Part([], tokens, passed)
        self._readings.remove(reading)
        grow_by(layers, 0)
        return Part([row], tokens, passed, Ready([row], layers, is_merged=False))

    def _next(self) -> _Reading:
        self._turn += 1
        oldest = self._readings[0]
        return oldest if self._turn % 2 else min(self._readings, key=lambda reading: len(reading.waiting))

    def _begun(self, reading: _Reading) -> Layers:
        """Its layer caches; from the prefix cache when it begins."""
        if reading.layers is not None:
            return reading.layers
        row = reading.row
        layers, reused = self._prefixes.take(row.tokens, row.kind, model=reading.model)
        bits = row.prepared.options.kv_bits
        if bits and reading.group_size is not None and not reused:
            own = len(fresh(self._model))  # behind them are those of a draft, which are small
            layers = [*quantized(layers[:own], bits, reading.group_size), *layers[own:]]
        row.begin(reused)
        reading.layers, reading.waiting = layers, row.tokens[reused:-1]
        grow_by(layers, len(reading.waiting))
        reading.makes_room = len(reading.waiting) > SHORT_TOKENS
        if not always_rewinds(layers):
            regular = range(_TOKENS_BETWEEN_CHECKPOINTS, len(row.tokens), _TOKENS_BETWEEN_CHECKPOINTS)
            stops = sorted({*row.prepared.boundaries, *regular})
            reading.stops = [stop for stop in stops if reused < stop < len(row.tokens) - 1]
        return layers

    def _fitting(self, first: _Reading, limit_tokens: int) -> list[_Reading]:
        """Short prompts that, padded to the longest of them, are one part together."""
        together, longest = [first], len(first.waiting)
        for reading in self._readings:
            if first.stops or reading is first or reading.begun or len(reading.waiting) > SHORT_TOKENS:
                continue
            width = max(longest, len(reading.waiting))
            if width * (len(together) + 1) > limit_tokens or not self._merges(reading) or reading.stops:
                continue
            longest = width
            together.append(reading)
        return together

    def _merges(self, reading: _Reading) -> bool:
        layers = self._begun(reading)
        return self._batching.reads_together and not reading.row.kind and can_merge(layers)

    def _read(self, reading: _Reading, layers: Layers, portion: Portion) -> tuple[int, int]:
        """Read a part of one prompt; returns how many tokens went through how many layers.

        What is computed for some tokens is cut between layers where all of it at once would take too long: MLX computes
        what is asked for, and the cache of a layer needs nothing of the layers behind it.
        """
        import mlx.core as mx

        if not reading.begun:
            count = portion.tokens if self._batching.reads_in_parts else _LIKE_MLX_LM_TOKENS
            if reading.stops:
                count = min(count, reading.stops[0] - reading.row.cached_tokens)
            reading.begun = min(count, len(reading.waiting))
            reading.model(mx.array(reading.waiting[: reading.begun])[None], cache=layers)
        count = reading.begun
        if portion.size is None:
            return count, self._pass(reading, layers, None)
        most = 1 if reading.makes_room else max(portion.size // count, 1)
        return count, self._pass(reading, layers, most)

    def _pass(self, reading: _Reading, layers: Layers, most: int | None) -> int:
        """Take what is on its way through so many layers more, at most, or through all; returns through how many.

        What comes to the cache of a layer has gone through the layers before it: so the first cache costs nothing but
        its making, and nothing goes through the last layer.
        """
        import mlx.core as mx

        first = reading.passed
        begin = first if reading.makes_room else max(first, 1)
        reading.passed = len(layers) if most is None else min(begin + most, len(layers))
        if most is None:
            compute(layers[first : reading.passed], self._checkpoint)
        else:  # the next step is laid out meanwhile
            mx.async_eval([layer.state for layer in layers[first : reading.passed]])  # type: ignore[no-untyped-call]
        passed = max(reading.passed - max(first, 1), 1)
        if reading.passed == len(layers):
            row, count = reading.row, reading.begun
            row.cached_tokens += count
            del reading.waiting[:count]
            reading.begun = reading.passed = 0
            reading.makes_room = False
            if reading.stops and reading.stops[0] == row.cached_tokens:
                del reading.stops[0]
                self._keep(row, layers)
        return passed

    def _read_together(self, readings: list[_Reading]) -> Part:
        """Read several prompts to their ends, the shorter ones padded on the right."""
        import mlx.core as mx

        layers = merged([self._begun(reading) for reading in readings])
        count = read_padded(
            lambda rows, caches: self._model(mx.array(rows), cache=caches),
            [reading.waiting for reading in readings],
            layers,
        )
        if count:
            compute(layers, self._checkpoint)
        rows = [reading.row for reading in readings]
        for row in rows:
            row.cached_tokens = len(row.tokens) - 1
        done = {id(row) for row in rows}
        self._readings = [reading for reading in self._readings if id(reading.row) not in done]
        return Part(rows, count, len(layers), Ready(rows, layers, is_merged=True))

    def _keep(self, row: Row, layers: Layers) -> bool:
        return self._prefixes.keep(row.tokens[: row.cached_tokens], shared(layers), row.kind)
