"""Passes of a few tokens through a model, laid out and cut short, to see what they leave in its KV caches.

What is concluded from them: `batching`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mlxbuild.runtime.engine.core.kv_cache import KVCache, fresh, parts

if TYPE_CHECKING:
    import mlx.core as mx

_COMPARABLE = ("KVCache", "RotatingKVCache", "ArraysCache")
"""KV caches of which it is known what two of them must have in common."""
_LOOKED_AT = {"index_topk": 2, "index_topk_blocks": 1, "index_block_size": 2}
"""How mlx-lm's models name how many tokens, or blocks of them, an index finds."""
_FEWEST_ROWS = 64
"""An embedding with fewer is not one of tokens."""


class Trial:
    """Of one model of mlx-lm. Only as many layers are computed as show all kinds of them at work."""

    def __init__(self, model: Any) -> None:
        self._model = model
        layers = fresh(model)
        self._count = len(layers)
        self.model_type = str(getattr(model, "model_type", None) or "this model")
        self.depth = _depth(model, layers)
        """How many KV caches are filled, and compared."""

    @property
    def is_whole(self) -> bool:
        """Whether passes go through the whole model, and give logits."""
        return self.depth == self._count

    @contextmanager
    def narrowed(self) -> Iterator[None]:
        """While inside, layers that look only at what an index finds look at less than the few tokens of a trial."""
        changed = []
        for module in self._model.modules():
            for name, most in _LOOKED_AT.items():
                if (value := vars(module).get(name, 0)) > most:
                    changed.append((module, name, value))
                    setattr(module, name, most)
        try:
            yield
        finally:
            for module, name, value in changed:
                setattr(module, name, value)

    def fresh(self) -> KVCache:
        """Empty KV caches, as many as are filled."""
        return fresh(self._model)[: self.depth]

    def read(self, rows: Sequence[Sequence[int]], layers: KVCache) -> mx.array | None:
        """Lay out the reading of tokens into KV caches; the logits after the last ones, if passes are whole."""
        import mlx.core as mx

        tokens = mx.array([list(row) for row in rows])
        if self.is_whole:
            logits: mx.array = self._model(tokens, cache=layers)
            return logits[:, -1, :]
        with suppress(_Enough):
            self._model(tokens, cache=[*layers, *[_End()] * (self._count - self.depth)])
        if any(all(part.empty() for part in parts([layer])) for layer in layers):
            raise CutTooEarly
        return None

    def widen(self) -> None:
        """Go through the whole model from now on."""
        self.depth = self._count

    @staticmethod
    def held(layers: KVCache) -> Iterator[mx.array]:
        """What KV caches of a row hold: keys and values by tokens (shape [1, H, L, D]), states (shape [1, N])."""
        for part in parts(layers):
            match type(part).__name__:
                case "KVCache" | "RotatingKVCache" if part.keys is None:
                    pass  # some layers do without
                case "KVCache":
                    yield from part.keys_and_values()
                case "RotatingKVCache":
                    # How much it holds beyond the window differs with how it was filled.
                    for array in (part.keys, part.values):
                        yield part._temporal_order(array)[..., -part.size() :, :]
                case "ArraysCache":
                    yield from (array.reshape(1, -1) for array in part.cache if array is not None)

    def windows_agree(self) -> bool:
        """Whether the model's masks hide what its rotating caches forget; else parts of a prompt see less than a whole.

        Prompts longer than a window would show it, too, but windows are long.
        """
        import mlx.core as mx

        layers = fresh(self._model)
        agree = [True]
        for part in parts(layers):
            if type(part).__name__ == "RotatingKVCache":
                part.make_mask = _watched(part, agree)
        with suppress(_Enough):
            self._model(mx.array([[0, 0]]), cache=layers)
        return all(agree)

    def vocabulary(self) -> int:
        """So many tokens the model has at least."""
        from mlx.nn.layers.embedding import Embedding
        from mlx.nn.layers.quantized import QuantizedEmbedding

        kinds = (Embedding, QuantizedEmbedding)
        rows = [module.weight.shape[0] for module in self._model.modules() if isinstance(module, kinds)]
        return min((count for count in rows if count >= _FEWEST_ROWS), default=_FEWEST_ROWS)


def _watched(part: Any, agree: list[bool]) -> Callable[..., Any]:
    make_mask = part.make_mask

    def watched(*arguments: Any, window_size: int | None = None, **others: Any) -> Any:
        agree.append(window_size is None or window_size <= part.max_size)
        return make_mask(*arguments, window_size=window_size, **others)

    return watched


class CutTooEarly(Exception):
    """A model asked for a KV cache out of turn."""


class _Enough(Exception):
    """A pass came to a layer that is not asked for."""


class _End:
    """In place of the KV cache at which a pass ends."""

    def __getattr__(self, name: str) -> Any:
        raise _Enough

    def __getitem__(self, place: int) -> Any:
        raise _Enough


def _depth(model: Any, layers: KVCache) -> int:
    """How many KV caches are filled before all kinds of layers have been computed.

    What a layer computes is seen in the cache of the next one; what comes behind all of the caches only in the logits.
    """
    modules = getattr(model, "layers", ())
    known = all(type(part).__name__ in _COMPARABLE for part in parts(layers))
    if not known or len(modules) != len(layers):
        return len(layers)
    kinds = [_kind(module, layer) for module, layer in zip(modules, layers, strict=True)]
    last = max(kinds.index(kind) for kind in set(kinds))
    return min(last + 2, len(layers))


def _kind(module: Any, layer: Any) -> frozenset[tuple[str, ...]]:
    """What tells layers apart that compute in different ways: classes, and switches."""
    found = {("cache", *(type(part).__name__ for part in parts([layer])))}
    for path, each in module.named_modules():
        found.add((path, type(each).__name__))
        for name, value in vars(each).items():
            told = str(value) if isinstance(value, bool | str) else type(value).__name__
            found.add((path, name, told))
    return frozenset(found)
