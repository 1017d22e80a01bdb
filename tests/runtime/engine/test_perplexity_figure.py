"""The perplexity of a text equals its definition, with windows of any size."""

from __future__ import annotations

import math

import mlx.core as mx
import pytest

from mlxbuild.runtime.engine.core.prepared_request import PromptUnusable
from mlxbuild.runtime.loaded_model import LoadedModel

TEXT = "hello world, how are you? It is what it is."


def by_definition(model: LoadedModel, window: int) -> float:
    """Computed token by token, each with only the tokens of its window before it."""
    tokens = model.tokenize(TEXT)
    total = 0.0
    for place in range(1, len(tokens)):
        begin = (place - 1) // window * window
        logits = model.weights.model(mx.array([tokens[begin:place]]))[0, -1]
        total -= float((logits - mx.logsumexp(logits))[tokens[place]].item())  # type: ignore[arg-type]
    return math.exp(total / (len(tokens) - 1))


@pytest.mark.parametrize("window", [1, 3, 1000])
def test_it_is_what_the_definition_says(tiny: LoadedModel, window: int) -> None:
    assert tiny.perplexity(TEXT, window=window) == pytest.approx(by_definition(tiny, window), rel=1e-4)


def test_it_is_the_same_again(tiny: LoadedModel) -> None:
    assert tiny.perplexity(TEXT) == LoadedModel(tiny.folder).perplexity(TEXT)


def test_a_single_token_has_none(tiny: LoadedModel) -> None:
    with pytest.raises(PromptUnusable, match="two tokens"):
        tiny.perplexity("h")
