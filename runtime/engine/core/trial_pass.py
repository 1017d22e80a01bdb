"""Forward passes of a few tokens through the first layers of a model, to inspect the KV caches they produce.

The conclusions are drawn in `batching`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mlxbuild.runtime.engine.core.kv_cache import KVCache, fresh, leaves

if TYPE_CHECKING:
    import mlx.core as mx

_COMPARABLE = ("KVCache", "RotatingKVCache", "ArraysCache")
"""Kinds of KV caches that can be compared."""
_LOOKED_AT = {"index_topk": 2, "index_topk_blocks": 1, "index_block_size": 2}
"""Attributes of mlx-lm's models that say how many tokens, or blocks of them, sparse attention selects; with low values.
"""
_FEWEST_ROWS = 64
"""An embedding with fewer rows is not one of tokens."""


class TrialPass:
    """Trial passes of one model of mlx-lm. They end one layer after each kind of layer has occurred."""

    def __init__(self, model: Any) -> None:
        self._model = model
        cache = fresh(model)
        self._count = len(cache)
        self.model_type = str(getattr(model, "model_type", None) or "this model")
        self.depth = _depth(model, cache)
        """How many layers are computed and compared."""

    @property
    def is_whole(self) -> bool:
        """Whether passes go through the whole model, and give logits."""
        return self.depth == self._count

    @contextmanager
    def narrowed(self) -> Iterator[None]:
        """Inside this context, sparse attention selects fewer tokens than a trial has."""
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
        """Empty KV caches for the layers that are computed."""
        return fresh(self._model)[: self.depth]

    def run(self, rows: Sequence[Sequence[int]], cache: KVCache) -> mx.array | None:
        """Build a pass of tokens into the KV caches; returns the logits after the last tokens, if passes are whole."""
        import mlx.core as mx

        tokens = mx.array([list(row) for row in rows])
        if self.is_whole:
            logits: mx.array = self._model(tokens, cache=cache)
            return logits[:, -1, :]
        with suppress(_Enough):
            self._model(tokens, cache=[*cache, *[_End()] * (self._count - self.depth)])
        if any(all(leaf.empty() for leaf in leaves([layer])) for layer in cache):
            raise CutTooEarly
        return None

    def widen(self) -> None:
        """Go through the whole model from now on."""
        self.depth = self._count

    @staticmethod
    def held(cache: KVCache) -> Iterator[mx.array]:
        """Contents of the KV cache of one sequence: keys and values (shape [1, H, L, D]) or states (shape [1, N])."""
        for leaf in leaves(cache):
            match type(leaf).__name__:
                case "KVCache" | "RotatingKVCache" if leaf.keys is None:
                    pass  # some layers have no keys
                case "KVCache":
                    yield from leaf.keys_and_values()
                case "RotatingKVCache":
                    # How much it holds beyond the window depends on how it was filled.
                    for array in (leaf.keys, leaf.values):
                        yield leaf._temporal_order(array)[..., -leaf.size() :, :]
                case "ArraysCache":
                    yield from (array.reshape(1, -1) for array in leaf.cache if array is not None)

    def windows_agree(self) -> bool:
        """Whether the model's masks hide what its rotating caches drop; if not, chunks attend to less than a whole
        prompt.

        Prompts longer than a window would show this as well, but windows are long.
        """
        import mlx.core as mx

        cache = fresh(self._model)
        agree = [True]
        for leaf in leaves(cache):
            if type(leaf).__name__ == "RotatingKVCache":
                leaf.make_mask = _watched(leaf, agree)
        with suppress(_Enough):
            self._model(mx.array([[0, 0]]), cache=cache)
        return all(agree)

    def vocabulary(self) -> int:
        """A lower bound of the number of tokens."""
        from mlx.nn.layers.embedding import Embedding
        from mlx.nn.layers.quantized import QuantizedEmbedding

        kinds = (Embedding, QuantizedEmbedding)
        rows = [module.weight.shape[0] for module in self._model.modules() if isinstance(module, kinds)]
        return min((count for count in rows if count >= _FEWEST_ROWS), default=_FEWEST_ROWS)


def _watched(leaf: Any, agree: list[bool]) -> Callable[..., Any]:
    make_mask = leaf.make_mask

    def watched(*arguments: Any, window_size: int | None = None, **others: Any) -> Any:
        agree.append(window_size is None or window_size <= leaf.max_size)
        return make_mask(*arguments, window_size=window_size, **others)

    return watched


class CutTooEarly(Exception):
    """A model used a KV cache out of order."""


class _Enough(Exception):
    """The pass has reached a layer that is not needed."""


class _End:
    """Stands for the KV cache at which a pass ends."""

    def __getattr__(self, name: str) -> Any:
        raise _Enough

    def __getitem__(self, place: int) -> Any:
        raise _Enough


def _depth(model: Any, cache: KVCache) -> int:
    """How many layers have to be computed until all kinds have occurred.

    The output of a layer shows in the KV cache of the next one, and that of the last layer only in the logits.
    """
    modules = getattr(model, "layers", ())
    known = all(type(leaf).__name__ in _COMPARABLE for leaf in leaves(cache))
    if not known or len(modules) != len(cache):
        return len(cache)
    kinds = [_kind(module, layer) for module, layer in zip(modules, cache, strict=True)]
    last = max(kinds.index(kind) for kind in set(kinds))
    return min(last + 2, len(cache))


def _kind(module: Any, layer: Any) -> frozenset[tuple[str, ...]]:
    """What distinguishes layers that compute differently: classes and flags."""
    found = {("cache", *(type(leaf).__name__ for leaf in leaves([layer])))}
    for path, each in module.named_modules():
        found.add((path, type(each).__name__))
        for name, value in vars(each).items():
            told = str(value) if isinstance(value, bool | str) else type(value).__name__
            found.add((path, name, told))
    return frozenset(found)
