"""ModernBERT: rotary positions, gated units, and local attention in most layers (arXiv:2412.13663)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Identity, Linear
from mlx.nn.layers.normalization import LayerNorm

from mlxbuild.runtime.model.encoders.parts import Attention, Part, activation, arguments, attended, kept

_OTHER_HEADS = ("head.", "decoder.", "classifier.")


@dataclass(frozen=True)
class ModelArgs:
    """The fields of `config.json` that affect the computation."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 8192
    norm_eps: float = 1e-5
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    hidden_activation: str = "gelu"
    global_attn_every_n_layers: int = 3
    local_attention: int = 128
    """How many tokens a layer with local attention sees, half of them on each side."""
    global_rope_theta: float = 160000.0
    local_rope_theta: float | None = 10000.0

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> ModelArgs:
        """Read a `config.json` in its older or newer form; other fields are ignored.

        Raises:
            ValueError: rotary positions are scaled, or there are other kinds of layers.
        """
        known = dict(config)
        ropes = config.get("rope_parameters") or {}
        for kind, name in (("full_attention", "global_rope_theta"), ("sliding_attention", "local_rope_theta")):
            rope = ropes.get(kind) or {}
            if rope.get("rope_type", "default") != "default":
                raise ValueError(f"rotary positions of type `{rope['rope_type']}` are not known")
            known[name] = rope.get("rope_theta", known.get(name))
        args = arguments(cls, known)
        for number, kind in enumerate(config.get("layer_types") or ()):
            if (kind == "full_attention") != (number % args.global_attn_every_n_layers == 0):
                raise ValueError("`layer_types` does not follow `global_attn_every_n_layers`")
        return args


class Model(Part):
    """Token ids to hidden states. Parameters have the names that publishers use, without a prefix."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.args = args
        self.embeddings = Part()
        self.embeddings.tok_embeddings = Embedding(args.vocab_size, args.hidden_size)
        self.embeddings.norm = _norm(args)
        self.layers = [_Layer(args, number) for number in range(args.num_hidden_layers)]
        self.final_norm = _norm(args)

    def __call__(self, tokens: mx.array, real: mx.array) -> mx.array:
        """Hidden states (shape [B, L, D]) of tokens (shape [B, L]); `real` is false at padding, which comes last."""
        everywhere = attended(real)
        places = mx.arange(tokens.shape[1])
        distance = mx.abs(places[:, None] - places[None])
        near = mx.logical_and(everywhere, distance <= self.args.local_attention // 2)
        nearby = mx.logical_or(near, distance == 0)  # padding must see something, or it becomes NaN
        hidden = self.embeddings.norm(self.embeddings.tok_embeddings(tokens))
        for layer in self.layers:
            hidden = layer(hidden, everywhere if layer.sees_all else nearby)
        final: mx.array = self.final_norm(hidden)
        return final

    def sanitize(self, weights: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """The encoder's own tensors, without any heads that were saved with it."""
        return kept(weights, ("model.",), _OTHER_HEADS)


class _Layer(Part):
    def __init__(self, args: ModelArgs, number: int) -> None:
        super().__init__()
        size, inner = args.hidden_size, args.intermediate_size
        self.sees_all = number % args.global_attn_every_n_layers == 0
        self.attn_norm = _norm(args) if number else Identity()
        self.attn = Part()
        self.attn.Wqkv = Linear(size, 3 * size, bias=args.attention_bias)
        self.attn.Wo = Linear(size, size, bias=args.attention_bias)
        self.mlp_norm = _norm(args)
        self.mlp = Part()
        self.mlp.Wi = Linear(size, 2 * inner, bias=args.mlp_bias)
        self.mlp.Wo = Linear(inner, size, bias=args.mlp_bias)
        self._attend = Attention(args.num_attention_heads)
        self._heads = args.num_attention_heads
        local = args.local_rope_theta or args.global_rope_theta
        self._theta = args.global_rope_theta if self.sees_all else local
        self._activation = activation(args.hidden_activation)

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        rows, length, size = hidden.shape
        joint = self.attn.Wqkv(self.attn_norm(hidden)).reshape(rows, length, 3, self._heads, size // self._heads)
        queries, keys, values = (joint[:, :, part].transpose(0, 2, 1, 3) for part in range(3))
        mixed = self._attend.of_heads(self._turned(queries), self._turned(keys), values, mask)
        hidden = hidden + self.attn.Wo(mixed)
        value, gate = mx.split(self.mlp.Wi(self.mlp_norm(hidden)), 2, axis=-1)
        changed: mx.array = hidden + self.mlp.Wo(self._activation(value) * gate)
        return changed

    def _turned(self, part: mx.array) -> mx.array:
        turned: mx.array = mx.fast.rope(part, part.shape[-1], traditional=False, base=self._theta, scale=1.0, offset=0)
        return turned


def _norm(args: ModelArgs) -> LayerNorm:
    return LayerNorm(args.hidden_size, args.norm_eps, bias=args.norm_bias)
