"""Chunked prefill: reads prompts into KV caches in chunks, so that running answers need not wait for a whole prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.runtime.engine.core.batching import EVERYTHING, Batching
from mlxbuild.runtime.engine.core.forward_pass import ForwardPass
from mlxbuild.runtime.engine.core.kv_cache import (
    KVCache,
    always_rewinds,
    can_merge,
    extracted,
    fresh,
    grow_by,
    merged,
    nbytes,
    quantized,
    read_padded,
    shared,
    take_apart,
)
from mlxbuild.runtime.engine.core.prefill_budget import PrefillChunk
from mlxbuild.runtime.engine.core.prefix_cache import PrefixCache
from mlxbuild.runtime.engine.core.sequence import SequenceState

_LIKE_MLX_LM_TOKENS = 2048
"""What mlx-lm's own commands read at once, always: so does a prompt whose answer hangs on it."""
SHORT_TOKENS = 256
"""Prompts with at most as many tokens left are read together."""
_TOKENS_BETWEEN_CHECKPOINTS = 2048
_COPIED_AT_ONCE_BYTES = 8 << 20
"""Copying less is no stall."""


@dataclass(slots=True)
class _Reading:
    """A prompt on its way into KV caches: all of it but the last token."""

    row: SequenceState
    model: Any
    group_size: int | None
    waiting: list[int]
    """Tokens that are still to be read."""
    layers: KVCache | None = None
    """None before it begins: until then others may read what it shares with them."""
    stops: list[int] = field(default_factory=list)
    """Counts of tokens at which a checkpoint is kept; ascending."""
    forward_pass: ForwardPass | None = None
    """Waiting tokens that are on their way through the layers."""
    together: _Together | None = None
    """The short prompts that it is read with."""
    is_long: bool = False
    """Whether its first tokens make room for many more."""
    shared: list[Any] | None = None
    """KV caches that are still to be taken apart from those that are kept of the prompt; None before it is read."""


@dataclass(frozen=True, slots=True)
class _Together:
    """Short prompts that are read to their ends as one batch."""

    readings: list[_Reading]
    forward_pass: ForwardPass


@dataclass(frozen=True, slots=True)
class Ready:
    """Rows whose prompts are read, with their KV caches: ready to join a batch."""

    rows: list[SequenceState]
    layers: KVCache
    is_merged: bool


@dataclass(frozen=True, slots=True)
class Part:
    """What was read at once."""

    rows: list[SequenceState]
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
        self._last: ForwardPass | None = None

    @property
    def rows(self) -> list[SequenceState]:
        """Rows whose prompts are not read yet, oldest first."""
        return [reading.row for reading in self._readings]

    def add(self, row: SequenceState, *, model: Any = None, group_size: int | None = None) -> None:
        """Read the tokens of a row, as far as the prefix cache does not have them when its turn comes.

        `model` is another than the usual one, for a row of another kind. `group_size` is that of quantized keys and
        values, for a row that asks for them.
        """
        known = self._prefixes.knows(row.tokens, row.kind)
        self._readings.append(_Reading(row, model or self._model, group_size, row.tokens[known:-1]))

    def drop(self, rows: Sequence[SequenceState]) -> None:
        """Read no further for some rows; what was read of a prompt is kept in the prefix cache."""
        gone = {id(row) for row in rows}
        for reading in self._readings:
            if id(reading.row) in gone and reading.layers is not None:
                if reading.together is not None:
                    self._part(reading.together)
                elif reading.forward_pass is not None:
                    self._pass(reading, reading.forward_pass, PrefillChunk(0))
                self._keep(reading.row, reading.layers)
        self._readings = [reading for reading in self._readings if id(reading.row) not in gone]

    def settle(self) -> None:
        """Wait until what was read last is computed."""
        import mlx.core as mx

        last, self._last = self._last, None
        if last is not None and last.under_way is not None:
            mx.eval(last.under_way)

    def advance(self, chunk: PrefillChunk) -> Part:
        """Read a part of a prompt, or of several short prompts together."""
        reading = self._next()
        layers = self._begun(reading)
        is_short = reading.forward_pass is None and len(reading.waiting) <= min(chunk.tokens, SHORT_TOKENS)
        goes_ahead = chunk.layers is None and self._goes_ahead(reading)
        if reading.together is None and is_short and not goes_ahead and self._merges(reading):
            together = self._fitting(reading, chunk.tokens)
            if len(together) > 1:
                self._bring_together(together)
        if reading.together is not None:
            return self._read_together(reading.together, chunk)
        row = reading.row
        tokens, passed = self._read(reading, layers, chunk) if reading.waiting else (0, 0)
        if reading.waiting:
            return Part([] if reading.forward_pass else [row], tokens, passed)
        if reading.shared is None:
            is_kept = self._keep(row, layers)
            reading.shared = list(layers) if is_kept and nbytes(layers) > _COPIED_AT_ONCE_BYTES else []
        if chunk.layers is None or not tokens:
            _take_apart(reading.shared, None if chunk.layers is None else _COPIED_AT_ONCE_BYTES)
        if reading.shared:
            return Part([], tokens, passed)
        self._readings.remove(reading)
        grow_by(layers, 0)
        return Part([row], tokens, passed, Ready([row], layers, is_merged=False))

    def _next(self) -> _Reading:
        self._turn += 1
        oldest = self._readings[0]
        return oldest if self._turn % 2 else min(self._readings, key=lambda reading: len(reading.waiting))

    def _begun(self, reading: _Reading) -> KVCache:
        """Its KV caches; from the prefix cache when it begins."""
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
        reading.is_long = len(reading.waiting) > SHORT_TOKENS
        if self._batching.reads_in_parts and not always_rewinds(layers):
            regular = range(_TOKENS_BETWEEN_CHECKPOINTS, len(row.tokens), _TOKENS_BETWEEN_CHECKPOINTS)
            stops = sorted({*row.prepared.boundaries, *regular})
            reading.stops = [stop for stop in stops if reused < stop < len(row.tokens) - 1]
        return layers

    def _goes_ahead(self, reading: _Reading) -> bool:
        """Whether it is read before others that begin like it, as by a template: they are spared as much, at least."""
        row = reading.row
        if not self._prefixes.is_used or not always_rewinds(self._begun(reading)):
            return False
        others = (other.row for other in self._readings if other is not reading and other.layers is None)
        spared = sum(
            max(_alike(row.tokens, other.tokens) - row.cached_tokens, 0) for other in others if other.kind == row.kind
        )
        return spared >= len(reading.waiting) > 0

    def _fitting(self, first: _Reading, limit_tokens: int) -> list[_Reading]:
        """Short prompts that, padded to the longest of them, are one part together."""
        together, longest = [first], len(first.waiting)
        for reading in self._readings:
            is_begun = reading.forward_pass is not None or reading.together is not None
            if first.stops or reading is first or is_begun or len(reading.waiting) > SHORT_TOKENS:
                continue
            width = max(longest, len(reading.waiting))
            if bool(reading.waiting) != bool(first.waiting):
                continue  # to read nothing is no reading: windows cannot take a single token beside padding alone
            if width * (len(together) + 1) > limit_tokens or not self._merges(reading) or reading.stops:
                continue
            longest = width
            together.append(reading)
        return together

    def _merges(self, reading: _Reading) -> bool:
        layers = self._begun(reading)
        return self._batching.reads_together and not reading.row.kind and can_merge(layers)

    def _read(self, reading: _Reading, layers: KVCache, chunk: PrefillChunk) -> tuple[int, int]:
        """Read a part of one prompt; returns how many tokens went through how many layers.

        What is computed for some tokens is cut between layers where all of it at once would take too long.
        """
        import mlx.core as mx

        if reading.forward_pass is None:
            count = chunk.tokens if self._batching.reads_in_parts else _LIKE_MLX_LM_TOKENS
            if reading.stops:
                count = min(count, reading.stops[0] - reading.row.cached_tokens)
            count = min(count, len(reading.waiting))
            reading.model(mx.array(reading.waiting[:count])[None], cache=layers)
            reading.forward_pass = ForwardPass(layers, count, makes_room=reading.is_long)
        return reading.forward_pass.tokens, self._pass(reading, reading.forward_pass, chunk)

    def _pass(self, reading: _Reading, forward_pass: ForwardPass, chunk: PrefillChunk) -> int:
        """Take what is on its way through some layers more; returns through how many."""
        self._last = forward_pass
        passed = forward_pass.advance(chunk.layers, self._checkpoint)
        if forward_pass.is_over:
            row, count = reading.row, forward_pass.tokens
            row.cached_tokens += count
            del reading.waiting[:count]
            reading.forward_pass = None
            reading.is_long = False
            if reading.stops and reading.stops[0] == row.cached_tokens:
                del reading.stops[0]
                self._keep(row, forward_pass.layers)
        return passed

    def _bring_together(self, readings: list[_Reading]) -> None:
        """Lay out several prompts to their ends, the shorter ones padded on the right."""
        import mlx.core as mx

        layers = merged([self._begun(reading) for reading in readings])
        tokens = read_padded(
            lambda rows, caches: self._model(mx.array(rows), cache=caches),
            [reading.waiting for reading in readings],
            layers,
        )
        forward_pass = ForwardPass(layers, tokens, passed=0 if tokens else len(layers))
        for reading in readings:
            reading.together = _Together(readings, forward_pass)

    def _read_together(self, together: _Together, chunk: PrefillChunk) -> Part:
        """Take several prompts through some layers more; all are ready at the end of the last one."""
        forward_pass = self._last = together.forward_pass
        passed = 0 if forward_pass.is_over else forward_pass.advance(chunk.layers, self._checkpoint)
        if not forward_pass.is_over:
            return Part([], forward_pass.tokens, passed)
        rows = [reading.row for reading in together.readings]
        for row in rows:
            row.cached_tokens = len(row.tokens) - 1
        done = {id(row) for row in rows}
        self._readings = [reading for reading in self._readings if id(reading.row) not in done]
        return Part(rows, forward_pass.tokens, passed, Ready(rows, forward_pass.layers, is_merged=True))

    def _part(self, together: _Together) -> None:
        """Read several prompts to their ends, and have each go on by itself."""
        together.forward_pass.advance(None, self._checkpoint)
        for place, reading in enumerate(together.readings):
            reading.layers, reading.waiting = extracted(together.forward_pass.layers, place), []
            reading.row.cached_tokens = len(reading.row.tokens) - 1
            reading.together = None

    def _keep(self, row: SequenceState, layers: KVCache) -> bool:
        return self._prefixes.keep(row.tokens[: row.cached_tokens], shared(layers), row.kind)


def _take_apart(shared: list[Any], most_bytes: int | None) -> None:
    """Copy KV caches that others have, too, until so much is copied, at least one; those are gone from the list."""
    copied = 0
    while shared and (most_bytes is None or copied <= most_bytes):
        layer = shared.pop()
        take_apart(layer)
        copied += layer.nbytes


def _alike(tokens: Sequence[int], others: Sequence[int]) -> int:
    """How many tokens two prompts have in common at their beginnings."""
    pairs = enumerate(zip(tokens, others, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(tokens), len(others)))
