"""Computes the perplexity of a text. Judging the figure is done elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from mlxbuild.runtime.engine.core.prepared_request import PromptUnusable
from mlxbuild.runtime.model.threads import leave_streams_in_order

WINDOW_TOKENS = 512


def perplexity(
    model: Any,
    tokens: Sequence[int],
    *,
    rows: int,
    window: int = WINDOW_TOKENS,
    checkpoint: Callable[[], None] = lambda: None,
) -> float:
    """e to the mean negative log-likelihood of the tokens, in nats.

    The tokens are cut into windows of `window` tokens, each computed without the text before it; every token but the
    first counts once. The result is infinite or NaN if the model's figures are. `checkpoint` is called before each
    window, and may raise. `rows` is the number of tokens in the model's embedding.

    Raises:
        PromptUnusable: there are fewer than two tokens, or some that the model does not know.
    """
    import mlx.core as mx

    if len(tokens) < 2:
        raise PromptUnusable("a perplexity needs a text of at least two tokens")
    if (most := max(tokens)) >= rows:  # MLX reads beyond the end of an embedding without an error
        raise PromptUnusable(
            f"the text has the token {most:,}, and the model's tokens are 0 to {rows - 1:,}",
            hint="does the tokenizer belong to the model?",
        )
    leave_streams_in_order()
    total = 0.0
    for begin in range(0, len(tokens) - 1, window):
        checkpoint()
        row = mx.array(list(tokens[begin : begin + window + 1]))
        logits = model(row[None, :-1])[0].astype(mx.float32)
        chosen = mx.take_along_axis(logits, row[1:, None], axis=-1)[:, 0]
        total += cast(float, mx.sum(mx.logsumexp(logits, axis=-1) - chosen).item())
    mean = total / (len(tokens) - 1)
    return math.inf if mean > 700 else math.exp(mean)
