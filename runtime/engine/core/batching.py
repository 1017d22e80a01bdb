"""Decides by a trial which sequences may be computed together: those whose answers stay the same as alone.

mlx-lm's models come from many authors. Some let recurrent state run over the padding of shorter prompts, some count
positions over it, and some compute another result for a prompt in chunks than for a whole one. This module does not
correct that: it detects it, and the requests are then computed one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlxbuild.runtime.engine.core.comparison import Comparison
from mlxbuild.runtime.engine.core.trial_pass import CutTooEarly, TrialPass

_SEEDS = (1, 2)


@dataclass(frozen=True, slots=True)
class Batching:
    """What may be computed together for one model."""

    joins: bool = True
    """Whether sequences may be decoded in one batch. If not, one request is computed at a time."""
    joins_empty: bool = True
    """Whether a prompt of a single token, whose KV cache is still empty, may join a batch. If not, it is computed
    alone.
    """
    prefills_together: bool = True
    """Whether short prompts may be prefilled in one batch, with the shorter ones padded."""
    prefills_in_chunks: bool = True
    """Whether chunked prefill is allowed, with chunks of any size, and may start from a cached prefix."""

    @classmethod
    def of(cls, model: Any) -> Batching:
        """Test a model of mlx-lm whose arrays are evaluated; takes about as long as one token through a few of its
        layers.

        A check that fails is repeated with other tokens: rounding may tip the choice between two experts.

        Raises:
            NeedsMetal, NotComputable: the model cannot be computed at all.
            OutOfMemory: there is not enough memory.
        """
        trial = TrialPass(model)
        found = cls(False, False, False, False)
        with trial.narrowed():
            for seed in _SEEDS:
                try:
                    comparison = Comparison(trial, seed)
                except CutTooEarly:
                    trial.widen()
                    comparison = Comparison(trial, seed)
                joins = found.joins or comparison.joins()
                joins_empty = found.joins_empty or (joins and comparison.joins_empty())
                found = cls(
                    joins,
                    joins_empty,
                    found.prefills_together or (joins_empty and comparison.prefills_together()),
                    found.prefills_in_chunks or (trial.windows_agree() and comparison.prefills_in_chunks()),
                )
                if found == EVERYTHING:
                    break
        return found

    @property
    def told(self) -> str:
        """What is computed together, for people and programs: `prompts and answers`, `answers`, or `nothing`."""
        if not self.joins:
            return "nothing"
        return "prompts and answers" if self.prefills_together else "answers"


EVERYTHING = Batching()
"""No restriction: everything may be computed together."""
