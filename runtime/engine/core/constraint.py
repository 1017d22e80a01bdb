"""The port for structured output: what a batch asks of whoever decides which tokens may come next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import mlx.core as mx


class Constraint(Protocol):
    """Decides for one answer which tokens may come next. Used once, and on the engine's thread alone.

    For each token: `mask`, then the token is chosen, then `advance` with it. A batch with such a row waits for its
    tokens to be read before it chooses the next ones; rows without a constraint keep their logits.
    """

    def mask(self, logits: mx.array) -> mx.array:
        """Logits of the next token (shape [1, V]) with minus infinity where it must not be; or as they are.

        At least one token must be left; where the form is complete, a stop token.
        """

    def advance(self, token: int) -> None:
        """The next token is this one. Stop tokens are not told."""
