"""The interface of structured output: how a batch asks which tokens may come next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import mlx.core as mx


class Constraint(Protocol):
    """Decides which tokens may come next in one answer. Used once, and only on the engine's thread.

    The calls for each token are `mask`, sampling, then `advance`. A batch with a constrained sequence waits for the
    values of its tokens before it samples the next ones; the logits of other sequences are not changed.
    """

    def mask(self, logits: mx.array) -> mx.array:
        """Logits of the next token (shape [1, V]), with minus infinity for the tokens that are not allowed.

        At least one token is left; a stop token, where the answer is complete.
        """

    def advance(self, token: int) -> None:
        """Accept the next token. It is not called for stop tokens."""
