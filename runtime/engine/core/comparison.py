"""Compares what two prompts give when computed together, in each way that the engine uses, with what each gives alone.

The conclusions for requests are drawn in `batching`.
"""

from __future__ import annotations

import errno
import logging
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlxbuild.registry.core.errors import EnvironmentFailure, UserError
from mlxbuild.registry.store.durable import FREE_SOME_SPACE
from mlxbuild.registry.store.errors import DiskFull
from mlxbuild.runtime.engine.core.kv_cache import KVCache, can_merge, extracted, merged, prefill_padded, shared
from mlxbuild.runtime.engine.core.trial_pass import CutTooEarly, TrialPass
from mlxbuild.runtime.model.layout import NO_METAL
from mlxbuild.runtime.model.memory import OutOfMemory, is_lack_of_memory

if TYPE_CHECKING:
    import mlx.core as mx

_TOKENS = (10, 3)
"""Lengths of the two prompts. The short one gets much padding, and may be shorter than the window of a layer."""
_BEGUN = (4, 1)
"""How many tokens of each prompt are prefilled alone before the rest is prefilled together."""
_ONE_BEGUN = (4, 0)
"""The same with an empty KV cache for the second prompt, which is merged with the filled one of the first."""
_TOLERANCES = {"tokens": (0.01, 0.1), "states": (0.01, 0.25), "logits": (0.01, 0.04)}
"""Tolerated errors relative to the norm, in 32 and in 16 bits: another order of summation may cause them."""

_log = logging.getLogger(__name__)


class NeedsMetal(EnvironmentFailure):
    """The model's code uses kernels that only Metal has: Apple's GPUs."""

    code = "needs-metal"


class NotComputable(UserError):
    """mlx-lm's code for a model fails with its weights."""

    code = "not-computable"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result for one prompt."""

    cache: KVCache
    logits: mx.array | None
    """Logits after the last token; None where the forward pass is cut short."""


_Compared = Iterator[tuple[_Outcome, _Outcome]]
"""Results of prompts that were computed together, each with the result of the same prompt alone."""


class Comparison:
    """Compares two prompts of random tokens. Not thread-safe."""

    def __init__(self, trial: TrialPass, seed: int) -> None:
        """Compute each prompt alone.

        Raises:
            NeedsMetal, NotComputable, OutOfMemory: the model cannot be computed.
            CutTooEarly: forward passes of this model cannot be cut short.
        """
        import mlx.core as mx

        self._trial = trial
        drawn = random.Random(seed)
        tokens = range(1, trial.vocabulary())
        self._prompts = [drawn.choices(tokens, k=count) for count in _TOKENS]
        try:
            self._prefilled = [self._alone(prompt) for prompt in self._prompts]
            self._expected = []
            for prompt, read in zip(self._prompts, self._prefilled, strict=True):
                self._expected += self._last([prompt], shared(read))
            mx.eval([[layer.state for layer in each.cache] for each in self._expected])
            mx.eval([each.logits for each in self._expected if each.logits is not None])
        except CutTooEarly:
            raise
        except Exception as error:
            raise self._failure(error) from error

    def joins(self) -> bool:
        """Whether prompts that were prefilled alone can be decoded in one batch."""
        return can_merge(self._trial.fresh()) and self._agrees("in steps together", self._joined)

    def joins_empty(self) -> bool:
        """Whether a prompt of one token, with an empty KV cache, can join a batch.

        mlx-lm fills empty recurrent state with zeros, which is not the initial state of every architecture.
        """
        return can_merge(self._trial.fresh()) and self._agrees("in a first token beside others", self._joined_empty)

    def prefills_together(self) -> bool:
        """Whether prompts can be prefilled together, from the start or from a cached prefix of each."""
        return can_merge(self._trial.fresh()) and self._agrees("in prompts prefilled together", self._batched)

    def prefills_in_chunks(self) -> bool:
        """Whether chunked prefill gives the same result as a single pass."""
        return self._agrees("in chunks of a prompt", self._in_chunks)

    def _alone(self, tokens: Sequence[int], *, begun: int = 0) -> KVCache:
        """Prefill all tokens but the last; returns the KV cache."""
        cache = self._trial.fresh()
        for chunk in (tokens[:begun], tokens[begun:-1]):
            if chunk:
                self._trial.run([chunk], cache)
        return cache

    def _last(self, prompts: Sequence[Sequence[int]], cache: KVCache, *, is_merged: bool = False) -> list[_Outcome]:
        """The results of the prompts after their last tokens."""
        logits = self._trial.run([prompt[-1:] for prompt in prompts], cache)
        return [
            _Outcome(extracted(cache, row) if is_merged else cache, None if logits is None else logits[row])
            for row in range(len(prompts))
        ]

    def _joined(self) -> _Compared:
        cache = _extended(*(merged([shared(read)]) for read in self._prefilled))
        yield from zip(self._last(self._prompts, cache, is_merged=True), self._expected, strict=True)

    def _joined_empty(self) -> _Compared:
        prompts = [self._prompts[0], self._prompts[1][:1]]
        expected = [self._expected[0], *self._last(prompts[1:], self._trial.fresh())]
        cache = _extended(merged([shared(self._prefilled[0])]), merged([self._trial.fresh()]))
        yield from zip(self._last(prompts, cache, is_merged=True), expected, strict=True)

    def _batched(self) -> _Compared:
        for begun in ((0, 0), _BEGUN, _ONE_BEGUN):
            cut = list(zip(self._prompts, begun, strict=True))
            cache = merged([self._alone([*prompt[:count], 0]) for prompt, count in cut])
            prefill_padded(self._trial.run, [prompt[count:-1] for prompt, count in cut], cache)
            yield from zip(self._last(self._prompts, cache, is_merged=True), self._expected, strict=True)

    def _in_chunks(self) -> _Compared:
        prompt = self._prompts[0]
        yield self._last([prompt], self._alone(prompt, begun=_BEGUN[0]))[0], self._expected[0]

    def _agrees(self, where: str, compared: Callable[[], _Compared]) -> bool:
        import mlx.core as mx

        try:
            errors = [error for mine, expected in compared() for error in self._errors(mine, expected)]
            mx.eval(errors)
            worst = max(float(error.item()) for error in errors)  # type: ignore[arg-type]
        except Exception as error:
            if is_lack_of_memory(error):
                raise self._failure(error) from error
            _log.info("the model fails %s: %s", where, error)
            return False
        _log.debug("the model differs %s by %.2g of the tolerance", where, worst)
        return worst <= 1.0

    def _errors(self, mine: _Outcome, expected: _Outcome) -> Iterator[mx.array]:
        """Errors of all arrays of two results, as multiples of the tolerance."""
        for one, other in zip(self._trial.held(mine.cache), self._trial.held(expected.cache), strict=True):
            yield _error(one, other)
        if mine.logits is not None and expected.logits is not None:
            yield _error(_centred(mine.logits), _centred(expected.logits))

    def _failure(self, error: Exception) -> Exception:
        told = str(error) or type(error).__name__
        if is_lack_of_memory(error):
            return OutOfMemory(f"there is not enough memory to compute: {told}")
        if os.strerror(errno.ENOSPC) in told:  # MLX compiles CPU kernels into files with the system's compiler
            return DiskFull("the disk is full: MLX cannot compile its kernels", hint=FREE_SOME_SPACE)
        if NO_METAL in told:
            return NeedsMetal(
                f"mlx-lm's code for `{self._trial.model_type}` needs Metal, and this machine has none",
                hint="run it on a Mac",
            )
        return NotComputable(
            f"mlx-lm's code for `{self._trial.model_type}` fails: {type(error).__name__}: {told}",
            hint="check its files with `mlxbuild verify`; if they are intact, mlx-lm cannot run this model here",
        )


def _extended(cache: KVCache, others: KVCache) -> KVCache:
    for one, other in zip(cache, others, strict=True):
        one.extend(other)
    return cache


def _centred(logits: mx.array) -> mx.array:
    """Logits minus their mean, which affects no choice. Infinite ones, which rule tokens out, count as 0."""
    import mlx.core as mx

    finite = mx.where(mx.isfinite(logits), logits, 0)
    return finite - mx.mean(finite)


def _error(one: mx.array, other: mx.array) -> mx.array:
    """Distance of two arrays as a multiple of the tolerance; for keys and values, that of the worst token."""
    import mlx.core as mx

    if one.shape != other.shape:
        raise ValueError(f"{one.shape} instead of {other.shape}")
    kind = {1: "logits", 2: "states"}.get(other.ndim, "tokens")
    tolerance = _TOLERANCES[kind][other.dtype.size <= 2]
    axes = (0, 1, 3) if kind == "tokens" else None
    distance, length = (
        mx.sqrt(mx.sum(mx.square(array.astype(mx.float32)), axis=axes)) for array in (one - other, other)
    )
    return mx.max(distance / (tolerance * mx.maximum(length, 1e-6)))
