"""Which sequences may be computed together: those that get the answer that they get alone, found by trial.

mlx-lm's models are code of many hands. Some let recurrent state run over the padding of shorter prompts, some count
positions over it, some see a prompt in parts otherwise than as a whole. That is not mended here: it is found, and such
requests are computed one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlxbuild.runtime.engine.core.comparison import Comparison
from mlxbuild.runtime.engine.core.trial import CutTooEarly, Trial

_SEEDS = (1, 2)


@dataclass(frozen=True, slots=True)
class Batching:
    """How requests to one model are computed."""

    joins: bool = True
    """Whether answers take steps together. Else one request is computed at a time."""
    joins_empty: bool = True
    """Whether a prompt of one token does, too, of which nothing is read before. Else each is answered by itself."""
    reads_together: bool = True
    """Whether short prompts are read together, the shorter ones padded."""
    reads_in_parts: bool = True
    """Whether a prompt may be read in parts of any size, and begun with what is kept of another."""

    @classmethod
    def of(cls, model: Any) -> Batching:
        """Of a model of mlx-lm whose arrays are evaluated; takes about as long as a token for a few of its layers.

        What differs for some tokens is looked at with others: with rounded numbers, the choice between two experts may
        hang in the balance.

        Raises:
            NeedsMetal, NotComputable: it cannot be computed at all.
            OutOfMemory: there is not enough memory.
        """
        trial = Trial(model)
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
                    found.reads_together or (joins_empty and comparison.reads_together()),
                    found.reads_in_parts or (trial.windows_agree() and comparison.reads_in_parts()),
                )
                if found == EVERYTHING:
                    break
        return found

    @property
    def told(self) -> str:
        """What of several requests is computed together, for people and programs: `prompts and answers`, `answers`, or
        `nothing`.
        """
        if not self.joins:
            return "nothing"
        return "prompts and answers" if self.reads_together else "answers"


EVERYTHING = Batching()
"""Nothing has to be computed by itself."""
