"""Maps the tensors of a PEFT adapter to those of a checkpoint. Loads neither MLX nor any weight.

Adapters use the module names of transformers, which are those of the checkpoint, so they are merged before mlx-lm's
architecture arranges the tensors: whatever it renames, stacks or transposes afterwards, the result is that of the
merged model. A merged tensor is a decoded one (`toolchain.weights.decoded`) of the method `lora`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from mlxbuild.toolchain.weights.blocks import EMBEDDINGS, labels_of
from mlxbuild.toolchain.weights.decoded import DecodedTensor, ModelTensor
from mlxbuild.toolchain.weights.peft.configuration import MERGE_HINT, PeftConfiguration, UnsupportedAdapter
from mlxbuild.toolchain.weights.peft.parts import AdapterParts, LowRankPair
from mlxbuild.toolchain.weights.reading import SourceTensor

METHOD: Final = "lora"
WEIGHT_PART: Final = "weight"

_FLOATS: Final = frozenset({"F32", "F16", "BF16"})
_COLUMNS_FIRST: Final = frozenset({"gpt2"})
"""Architectures whose layers transformers stores as (in, out): `Conv1D`, PEFT's `fan_in_fan_out`."""

_LEFT_AS_PUBLISHED: Final = frozenset(
    {"gemma", "gemma2", "gemma3_text", "llama", "mistral", "phi", "phi3", "qwen2", "qwen3", "smollm3"}
)
"""Architectures whose tensors mlx-lm neither renames nor changes, so that its weights are the publisher's."""


@dataclass(frozen=True, slots=True)
class PeftAdapter:
    """An adapter in a recipe."""

    configuration: PeftConfiguration
    parts: AdapterParts[SourceTensor]
    factor: float
    """Multiplies the adapter's scale; parameters that it stores in full are not scaled."""
    where: str


def merged(
    tensors: Sequence[ModelTensor], adapters: Sequence[PeftAdapter], config: Mapping[str, Any]
) -> tuple[ModelTensor, ...]:
    """A checkpoint's tensors with adapters merged into them, one after another; unaffected tensors stay the same.

    Args:
        tensors: The base's tensor table.
        adapters: The adapters, in order.
        config: The base's config.json.

    Raises:
        UnsupportedAdapter: an adapter changes a tensor that the base does not have, or has in another shape or form, or
            that is tied to another one.
    """
    table = {tensor.name: tensor for tensor in tensors}
    for adapter in adapters:
        name_of = _names(adapter, table)
        for name, stored in adapter.parts.whole:
            target = _target(name_of(name), table, config, adapter)
            if stored.shape != target.shape:
                raise _misfit(f"stores `{target.name}` as {list(stored.shape)}", target, adapter)
            table[target.name] = _planned(target, [], {WEIGHT_PART: stored})
        for pair in adapter.parts.pairs:
            target = _target(name_of(f"{pair.module}.weight"), table, config, adapter)
            table[target.name] = _with_term(target, pair, adapter, config)
    return tuple(table[tensor.name] for tensor in tensors)


def check_arrangement(config: Mapping[str, Any], where: str) -> None:
    """Refuse an artifact as a base if mlx-lm may have rearranged tensors that an adapter changes.

    Raises:
        UnsupportedAdapter: mlx-lm may rearrange the architecture's tensors.
    """
    if config.get("model_type") not in _LEFT_AS_PUBLISHED:
        raise UnsupportedAdapter(
            f"an artifact holds `{config.get('model_type')}` as mlx-lm arranges it, and adapters of PEFT are for "
            "published weights",
            where=where,
            hint="name the folder or repository of the published model as base",
        )


def _with_term(
    target: ModelTensor, pair: LowRankPair[SourceTensor], adapter: PeftAdapter, config: Mapping[str, Any]
) -> DecodedTensor:
    transposed = pair.is_embedding or (
        config.get("model_type") in _COLUMNS_FIRST and not target.name.endswith("lm_head.weight")
    )
    shape = (pair.b.shape[0], pair.a.shape[1])
    if target.shape != (shape[::-1] if transposed else shape):
        what = f"has {list(pair.a.shape)} and {list(pair.b.shape)} for `{target.name}`"
        raise _misfit(what, target, adapter)
    if isinstance(target, SourceTensor):
        target = _planned(target, [], {WEIGHT_PART: target})
    before = target.parameters["terms"]
    term = {"scale": adapter.configuration.scale_of(pair.module) * adapter.factor, "transposed": transposed}
    halves = {f"a.{len(before)}": pair.a, f"b.{len(before)}": pair.b}
    return _planned(target, [*before, term], {**target.parts, **halves})


def _planned(
    target: ModelTensor, terms: Sequence[Mapping[str, Any]], parts: Mapping[str, SourceTensor]
) -> DecodedTensor:
    return DecodedTensor(target.name, target.dtype, target.shape, METHOD, {"terms": terms}, parts)


def _names(adapter: PeftAdapter, table: Mapping[str, ModelTensor]) -> Callable[[str], str]:
    """A function from names in the adapter's model to those in the checkpoint, whose prefix may differ."""
    wanted = [name for name, _ in adapter.parts.whole] + [f"{pair.module}.weight" for pair in adapter.parts.pairs]
    prefixes = {name.partition(".")[0] + "." for name in (*table, *wanted)}
    ways: list[Callable[[str], str]] = [str]
    ways += [partial(_without, prefix) for prefix in sorted(prefixes)]
    ways += [prefix.__add__ for prefix in sorted(prefixes)]
    return next((way for way in ways if all(way(name) in table for name in wanted)), str)


def _without(prefix: str, name: str) -> str:
    return name.removeprefix(prefix) if name.startswith(prefix) else ""


def _target(
    name: str, table: Mapping[str, ModelTensor], config: Mapping[str, Any], adapter: PeftAdapter
) -> ModelTensor:
    target = table.get(name)
    if target is None:
        raise UnsupportedAdapter(
            f"the base model has no tensor `{name:.200}` for the adapter to change",
            where=adapter.where,
            hint=f"is the adapter made for this base model? If it is, {MERGE_HINT}",
        )
    if _is_shared(target, table, config):
        raise UnsupportedAdapter(
            f"the adapter changes `{name}`, which the base model uses both as embedding and as head",
            where=adapter.where,
            hint=MERGE_HINT,
        )
    if target.dtype in _FLOATS and isinstance(target, DecodedTensor) and target.method != METHOD:
        raise UnsupportedAdapter(
            f"the adapter changes `{name}`, whose floats are decoded from another form, and one of PEFT is merged "
            "only into floats that a safetensors file holds",
            where=adapter.where,
            hint=f"use the base model in safetensors and unquantized, or {MERGE_HINT}",
        )
    if target.dtype not in _FLOATS:
        raise UnsupportedAdapter(
            f"the adapter changes `{name}`, which the base model holds packed or quantized",
            where=adapter.where,
            hint=f"use the unquantized base model, or {MERGE_HINT}",
        )
    return target


def _is_shared(target: ModelTensor, table: Mapping[str, ModelTensor], config: Mapping[str, Any]) -> bool:
    """Whether a tensor is the token embedding, or the head, of a model in which the two are tied."""
    text = config.get("text_config")
    settings = {**config, **(text if isinstance(text, dict) else {})}
    if len(target.shape) != 2 or target.shape[0] != settings.get("vocab_size", target.shape[0]):
        return False
    is_head = target.name.endswith("lm_head.weight")
    if not is_head and labels_of([target.name])[target.name] != EMBEDDINGS:
        return False
    tied = settings.get("tie_word_embeddings")
    return tied is True or (tied is None and not any(_as_tall(table, target)))


def _as_tall(table: Mapping[str, ModelTensor], target: ModelTensor) -> Iterator[bool]:
    """For each other matrix, whether it also has a row per token, which means that one of them is the head."""
    for other in table.values():
        yield other.name != target.name and len(other.shape) == 2 and other.shape[0] == target.shape[0]


def _misfit(what: str, target: ModelTensor, adapter: PeftAdapter) -> UnsupportedAdapter:
    return UnsupportedAdapter(
        f"the adapter {what}, which the base model has as {list(target.shape)}",
        where=adapter.where,
        hint=f"is the adapter made for this base model? If its vocabulary was enlarged, {MERGE_HINT}",
    )
