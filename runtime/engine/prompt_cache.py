"""Keeps the keys and values of the last conversation, so that a longer one computes only what is new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.model.mlx_lm_package import submodule


class PromptCache:
    """mlx-lm's cache of one model with the tokens that it holds. For one thread."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._tokens: list[int] = []
        self._layers: list[Any] = []

    def take(self, prompt: Sequence[int]) -> tuple[list[Any], int]:
        """mlx-lm's list of layer caches, and how many tokens of the prompt are in it already, at least one short.

        Until `keep` is called the cache is taken to hold nothing, so an answer that breaks off spoils none.
        """
        cache = submodule("models.cache")
        layers, shared = self._layers, _common(self._tokens, prompt[:-1])
        surplus = len(self._tokens) - shared
        self._tokens, self._layers = [], []
        if shared == 0 or (surplus and not cache.can_trim_prompt_cache(layers)):
            return cache.make_prompt_cache(self._model), 0
        if surplus and cache.trim_prompt_cache(layers, surplus) != surplus:
            return cache.make_prompt_cache(self._model), 0
        return layers, shared

    def keep(self, layers: list[Any], tokens: Sequence[int]) -> None:
        """Remember layer caches by exactly the tokens that went through them, for whichever thread comes next."""
        import mlx.core as mx

        mx.eval([layer.state for layer in layers])
        self._layers, self._tokens = layers, list(tokens)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
