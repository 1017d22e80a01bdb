"""BERT and RoBERTa (and XLM-R): learned positions, normalization after each block (arXiv:1810.04805, 1907.11692)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Linear
from mlx.nn.layers.normalization import LayerNorm

from mlxbuild.runtime.model.encoders.parts import Attention, Part, activation, arguments, attended, kept

_OF_ROBERTA = ("roberta", "xlm-roberta")
_OTHER_HEADS = ("pooler.", "cls.", "lm_head.", "classifier.", "embeddings.position_ids", "embeddings.token_type_ids")


@dataclass(frozen=True)
class ModelArgs:
    """The fields of `config.json` that affect the computation."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    pad_token_id: int = 0
    position_embedding_type: str = "absolute"

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> ModelArgs:
        """Read a `config.json`; other fields are ignored.

        Raises:
            ValueError: positions are not learned ones.
        """
        args = arguments(cls, config)
        if args.position_embedding_type != "absolute":
            raise ValueError(f"position_embedding_type `{args.position_embedding_type}` is not known")
        return args


class Model(Part):
    """Token ids to hidden states. Parameters have the names that publishers use, without a prefix."""

    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.args = args
        self.embeddings = _Embeddings(args)
        self.encoder = _Encoder(args)

    @property
    def layers(self) -> list[Any]:
        """One module for each layer."""
        return self.encoder.layer

    def __call__(self, tokens: mx.array, real: mx.array) -> mx.array:
        """Hidden states (shape [B, L, D]) of tokens (shape [B, L]); `real` is false at padding, which comes last."""
        mask = attended(real)
        hidden = self.embeddings(tokens)
        for layer in self.encoder.layer:
            hidden = layer(hidden, mask)
        return hidden

    def sanitize(self, weights: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """The encoder's own tensors, without any heads that were saved with it."""
        return {
            name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): array
            for name, array in kept(weights, ("bert.", "roberta."), _OTHER_HEADS).items()
        }

    def quant_predicate(self, path: str, _: Part) -> bool:
        """Embeddings of positions and token types are small, and are not quantized."""
        return not path.endswith(("position_embeddings", "token_type_embeddings"))


class _Embeddings(Part):
    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.word_embeddings = Embedding(args.vocab_size, args.hidden_size)
        self.position_embeddings = Embedding(args.max_position_embeddings, args.hidden_size)
        self.token_type_embeddings = Embedding(args.type_vocab_size, args.hidden_size)
        self.LayerNorm = LayerNorm(args.hidden_size, args.layer_norm_eps)
        self._first_position = args.pad_token_id + 1 if args.model_type in _OF_ROBERTA else 0

    def __call__(self, tokens: mx.array) -> mx.array:
        positions = mx.arange(self._first_position, self._first_position + tokens.shape[1])
        types = self.token_type_embeddings(mx.zeros((1, 1), dtype=mx.int32))
        hidden: mx.array = self.LayerNorm(self.word_embeddings(tokens) + types + self.position_embeddings(positions))
        return hidden


class _Encoder(Part):
    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.layer = [_Layer(args) for _ in range(args.num_hidden_layers)]


class _Layer(Part):
    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        size = args.hidden_size
        self.attention = Part()
        self.attention["self"] = Part()
        for name in ("query", "key", "value"):
            self.attention["self"][name] = Linear(size, size)
        self.attention.output = _Added(size, size, args.layer_norm_eps)
        self.intermediate = Part()
        self.intermediate.dense = Linear(size, args.intermediate_size)
        self.output = _Added(args.intermediate_size, size, args.layer_norm_eps)
        self._attend = Attention(args.num_attention_heads)
        self._activation = activation(args.hidden_act)

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        own = self.attention["self"]
        mixed = self._attend(own.query(hidden), own.key(hidden), own.value(hidden), mask)
        hidden = self.attention.output(mixed, hidden)
        added: mx.array = self.output(self._activation(self.intermediate.dense(hidden)), hidden)
        return added


class _Added(Part):
    """A linear layer whose output is added to the residual and normalized."""

    def __init__(self, inputs: int, outputs: int, epsilon: float) -> None:
        super().__init__()
        self.dense = Linear(inputs, outputs)
        self.LayerNorm = LayerNorm(outputs, epsilon)

    def __call__(self, change: mx.array, before: mx.array) -> mx.array:
        hidden: mx.array = self.LayerNorm(self.dense(change) + before)
        return hidden
