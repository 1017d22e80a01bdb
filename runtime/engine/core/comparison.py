"""Compares prompts that are computed together, in every way that the engine has, with what each gives alone.

What follows from it for requests: `batching`.
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
from mlxbuild.runtime.engine.core.kv_cache import KVCache, can_merge, extracted, merged, read_padded, shared
from mlxbuild.runtime.engine.core.trial import CutTooEarly, Trial
from mlxbuild.runtime.model.layout import NO_METAL
from mlxbuild.runtime.model.memory import OutOfMemory, is_lack_of_memory

if TYPE_CHECKING:
    import mlx.core as mx

_TOKENS = (10, 3)
"""Of the two prompts: a short one is padded much, and may be shorter than what a layer looks back."""
_BEGUN = (4, 1)
"""Tokens of each that are read by themselves before the rest is read together."""
_ONE_BEGUN = (4, 0)
"""Of the other nothing is known: its KV caches are empty, and filled up beside those of the first."""
_TOLERANCES = {"tokens": (0.01, 0.1), "states": (0.01, 0.25), "logits": (0.01, 0.04)}
"""Of the norm of what is compared: what other orders of sums may change, in 32 and in 16 bits."""

_log = logging.getLogger(__name__)


class NeedsMetal(EnvironmentFailure):
    """The model's code uses kernels that only Metal has: Apple's GPUs."""

    code = "needs-metal"


class NotComputable(UserError):
    """mlx-lm's code for a model fails with its weights."""

    code = "not-computable"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a row came to."""

    layers: KVCache
    logits: mx.array | None
    """After its last token; None where passes are cut short."""


_Compared = Iterator[tuple[_Outcome, _Outcome]]
"""What rows came to together, each with what it came to alone."""


class Comparison:
    """Of two prompts of random tokens. For one thread."""

    def __init__(self, trial: Trial, seed: int) -> None:
        """Computes each of them alone.

        Raises:
            NeedsMetal, NotComputable, OutOfMemory: that fails.
            CutTooEarly: passes of this model cannot be cut short.
        """
        import mlx.core as mx

        self._trial = trial
        drawn = random.Random(seed)
        tokens = range(1, trial.vocabulary())
        self._prompts = [drawn.choices(tokens, k=count) for count in _TOKENS]
        try:
            self._read = [self._alone(prompt) for prompt in self._prompts]
            self._expected = []
            for prompt, read in zip(self._prompts, self._read, strict=True):
                self._expected += self._last([prompt], shared(read))
            mx.eval([[layer.state for layer in each.layers] for each in self._expected])
            mx.eval([each.logits for each in self._expected if each.logits is not None])
        except CutTooEarly:
            raise
        except Exception as error:
            raise self._failure(error) from error

    def joins(self) -> bool:
        """Whether prompts that were read alone can take steps together."""
        return can_merge(self._trial.fresh()) and self._agrees("in steps together", self._joined)

    def joins_empty(self) -> bool:
        """Whether a prompt of one token, with empty KV caches, can take its first step beside others.

        mlx-lm fills empty recurrent state up with zeros, which not every architecture begins with.
        """
        return can_merge(self._trial.fresh()) and self._agrees("in a first token beside others", self._joined_empty)

    def reads_together(self) -> bool:
        """Whether prompts can be read together, from their beginnings or from what is known of each."""
        return can_merge(self._trial.fresh()) and self._agrees("in prompts read together", self._together)

    def reads_in_parts(self) -> bool:
        """Whether a prompt gives the same in parts as at once."""
        return self._agrees("in parts of a prompt", self._in_parts)

    def _alone(self, tokens: Sequence[int], *, begun: int = 0) -> KVCache:
        """All but the last of the tokens in KV caches."""
        layers = self._trial.fresh()
        for part in (tokens[:begun], tokens[begun:-1]):
            if part:
                self._trial.read([part], layers)
        return layers

    def _last(self, prompts: Sequence[Sequence[int]], layers: KVCache, *, is_merged: bool = False) -> list[_Outcome]:
        """Of each prompt, after its last token."""
        logits = self._trial.read([prompt[-1:] for prompt in prompts], layers)
        return [
            _Outcome(extracted(layers, row) if is_merged else layers, None if logits is None else logits[row])
            for row in range(len(prompts))
        ]

    def _joined(self) -> _Compared:
        layers = _extended(*(merged([shared(read)]) for read in self._read))
        yield from zip(self._last(self._prompts, layers, is_merged=True), self._expected, strict=True)

    def _joined_empty(self) -> _Compared:
        prompts = [self._prompts[0], self._prompts[1][:1]]
        expected = [self._expected[0], *self._last(prompts[1:], self._trial.fresh())]
        layers = _extended(merged([shared(self._read[0])]), merged([self._trial.fresh()]))
        yield from zip(self._last(prompts, layers, is_merged=True), expected, strict=True)

    def _together(self) -> _Compared:
        for begun in ((0, 0), _BEGUN, _ONE_BEGUN):
            cut = list(zip(self._prompts, begun, strict=True))
            layers = merged([self._alone([*prompt[:count], 0]) for prompt, count in cut])
            read_padded(self._trial.read, [prompt[count:-1] for prompt, count in cut], layers)
            yield from zip(self._last(self._prompts, layers, is_merged=True), self._expected, strict=True)

    def _in_parts(self) -> _Compared:
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
        """Of all that two outcomes hold, as parts of what is tolerated."""
        for one, other in zip(self._trial.held(mine.layers), self._trial.held(expected.layers), strict=True):
            yield _error(one, other)
        if mine.logits is not None and expected.logits is not None:
            yield _error(_centred(mine.logits), _centred(expected.logits))

    def _failure(self, error: Exception) -> Exception:
        told = str(error) or type(error).__name__
        if is_lack_of_memory(error):
            return OutOfMemory(f"there is not enough memory to compute: {told}")
        if os.strerror(errno.ENOSPC) in told:  # MLX compiles kernels for a CPU into files, by the system's compiler
            return DiskFull("the disk is full: MLX cannot compile what it computes with", hint=FREE_SOME_SPACE)
        if NO_METAL in told:
            return NeedsMetal(
                f"mlx-lm's code for `{self._trial.model_type}` needs Metal, and this machine has none",
                hint="run it on a Mac",
            )
        return NotComputable(
            f"mlx-lm's code for `{self._trial.model_type}` fails: {type(error).__name__}: {told}",
            hint="`mlxbuild verify` tells whether its files are sound; if they are, mlx-lm does not run it here",
        )


def _extended(layers: KVCache, others: KVCache) -> KVCache:
    for one, other in zip(layers, others, strict=True):
        one.extend(other)
    return layers


def _centred(logits: mx.array) -> mx.array:
    """Without what all of them have in common, which changes no choice; some models rule tokens out by infinities."""
    import mlx.core as mx

    finite = mx.where(mx.isfinite(logits), logits, 0)
    return finite - mx.mean(finite)


def _error(one: mx.array, other: mx.array) -> mx.array:
    """How far apart they are, as a part of what is tolerated; of keys and values, at the worst token."""
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
