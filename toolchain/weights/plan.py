"""Plans the work on the weights of a locked source for a variant, block by block, without MLX or weights.

The parameters locate source bytes by content (file digest, offset, size), never by path, so moving a model changes no
key, and a changed layer or a changed scheme of one layer changes the key of that block alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource, LockedTensor
from mlxbuild.toolchain.spec.resolved import QuantizationScheme, ResolvedSpec
from mlxbuild.toolchain.weights.blocks import Block, labels_of, partition
from mlxbuild.toolchain.weights.decoded import (
    DecodedTensor,
    ModelTensor,
    decoded_row,
    files_of,
    source_row,
    stored_tensors,
)
from mlxbuild.toolchain.weights.formats.gguf_layout import gguf_layout
from mlxbuild.toolchain.weights.formats.layout import Layout, layout_of
from mlxbuild.toolchain.weights.formats.packing import UnsupportedQuantization
from mlxbuild.toolchain.weights.model import read_configuration
from mlxbuild.toolchain.weights.overrides import relevant_overrides
from mlxbuild.toolchain.weights.peft.mapping import check_arrangement, merged
from mlxbuild.toolchain.weights.peft.source import (
    ADAPTER_CONFIGURATION,
    ADAPTER_WEIGHTS,
    PEFT_WEIGHTS,
    is_peft,
    read_adapter,
)
from mlxbuild.toolchain.weights.reading import SourceTensor
from mlxbuild.toolchain.weights.safetensors import UnsafeWeights

CONFIGURATION: Final = "config.json"


class UnusableSource(UserError):
    """A source lacks files or tensors that its role needs."""

    code = "unusable-source"


@dataclass(frozen=True, slots=True)
class BlockWork:
    """The work on one block of a variant, from which a node of the graph is made."""

    label: str
    step: str
    """`convert` if nothing is quantized, else `quantize`."""
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Digest]
    weight_bytes: int
    """Source bytes that the step reads."""
    files: tuple[Digest, ...]
    """Source files that must be on this machine before the step runs, sorted."""


@dataclass(frozen=True, slots=True)
class WeightPlan:
    """All work on the weights of one variant."""

    table: bytes
    """Names, dtypes and shapes of all base tensors; the steps' input `table`, to be stored."""
    blocks: tuple[BlockWork, ...]
    """In the order embeddings, layers, head."""
    configuration: bytes | None = None
    """The config.json that the blocks are built with, to be stored; None if it is the source's own file."""
    compute: str | None = None
    """The dtype that MLX computes in, if it differs from config.json."""


def plan_weights(
    spec: ResolvedSpec,
    base: LockedSource,
    adapters: Sequence[LockedSource],
    read: Callable[[LockedFile], bytes] | None = None,
) -> WeightPlan:
    """Plan the work on the weights of a variant.

    Args:
        spec: The variant.
        base: Its locked base model.
        adapters: Its locked adapters, in the order of `spec.adapters`.
        read: Reads a small file of the base or of an adapter; called only if the tensors show that another tool has
            packed them, or if an adapter is in PEFT's form.

    Raises:
        UnusableSource: no weights, weights of float64, no config.json, or an adapter in a form that cannot be fused.
        UnsupportedAdapter: a PEFT adapter cannot be merged into this base.
        UnsafeWeights: two files of the base name the same tensor.
        UnsupportedQuantization: the base was quantized in a way that is not supported.
        UnusableModel: its config.json cannot be read.
    """
    layout = _layout(spec, base, read)
    tensors = sorted(_merged(layout, spec, base, adapters, read), key=lambda tensor: tensor.name)
    table = canonical_json.encode([[tensor.name, tensor.dtype, list(tensor.shape)] for tensor in tensors])
    configuration = None if layout.config is None else json.dumps(layout.config, sort_keys=True).encode()
    inputs = {
        "config": _required(base, CONFIGURATION).blob.digest
        if configuration is None
        else Digest.of_bytes(configuration),
        "table": Digest.of_bytes(table),
    }
    needed = frozenset({inputs["config"]} if configuration is None else ())
    blocks = partition(tensors)
    additions = _adapters_by_block(spec, adapters, blocks)
    works = tuple(_work(spec, block, inputs, needed, additions[block.label]) for block in blocks)
    return WeightPlan(table, works, configuration, layout.compute)


def _layout(spec: ResolvedSpec, base: LockedSource, read: Callable[[LockedFile], bytes] | None) -> Layout:
    if base.gguf is not None:
        return _gguf_layout(spec, base, read)
    tensors = _model_tensors(base)
    digests = {file.path: file.blob.digest for file in base.files}

    def document(path: str) -> Mapping[str, Any] | None:
        file = base.file(path)
        return None if file is None or read is None else read_configuration(read(file), path)

    try:
        layout = layout_of(spec, [_source_tensor(tensor, digests[tensor.file]) for tensor in tensors], document)
    except UnsupportedQuantization as error:
        error.where = base.identity if error.where is None else f"{base.identity}/{error.where}"
        raise
    wide = next((each.name for each in layout.tensors if each.dtype == "F64"), None)
    if wide is not None:
        raise UnusableSource(
            f"`{wide}` is stored as F64, which MLX does not read",
            where=base.identity,
            hint="save the model in float32 or bfloat16, and give that",
        )
    return layout


def _merged(
    layout: Layout,
    spec: ResolvedSpec,
    base: LockedSource,
    adapters: Sequence[LockedSource],
    read: Callable[[LockedFile], bytes] | None,
) -> tuple[ModelTensor, ...]:
    """The tensors of a layout with the PEFT adapters merged into them."""
    forms = [_is_peft(source) for source in adapters]
    if not any(forms):
        return layout.tensors
    assert read is not None, "the scale of an adapter stands in a file"
    if forms != sorted(forms, reverse=True):
        raise UnusableSource(
            "an adapter of PEFT comes after one of mlx-lm",
            where=str(spec.recipe),
            hint="name adapters of PEFT first: they are merged before mlx-lm arranges the weights",
        )
    peft = [
        read_adapter(source, adapter.scale, read)
        for adapter, source in zip(spec.adapters, adapters, strict=True)
        if _is_peft(source)
    ]
    config = layout.config or json.loads(read(_required(base, CONFIGURATION)))
    if base.kind == "artifact":
        check_arrangement(config, base.identity)
    return merged(layout.tensors, peft, config)


def _is_peft(source: LockedSource) -> bool:
    return is_peft(file.path for file in source.files)


def _gguf_layout(spec: ResolvedSpec, base: LockedSource, read: Callable[[LockedFile], bytes] | None) -> Layout:
    assert read is not None
    config = json.loads(read(_required(base, CONFIGURATION)))
    return gguf_layout(spec, base.tensors, {file.path: file.blob.digest for file in base.files}, config)


def _source_tensor(tensor: LockedTensor, file: Digest) -> SourceTensor:
    return SourceTensor(tensor.name, tensor.dtype, tensor.shape, file, tensor.begin, tensor.size_bytes)


@dataclass(frozen=True, slots=True)
class _Addition:
    """The tensors that one adapter adds to one block."""

    scale: float
    configuration: Digest
    weights: Digest
    tensors: tuple[SourceTensor, ...]


def _work(
    spec: ResolvedSpec,
    block: Block[ModelTensor],
    inputs: Mapping[str, Digest],
    needed: frozenset[Digest],
    additions: Sequence[_Addition],
) -> BlockWork:
    scheme, recipe = spec.quantization.scheme, spec.quantization.recipe
    overrides = relevant_overrides(spec.quantization.overrides, block.label)
    is_quantized = scheme is not None or any(override is not None for _, override in overrides)
    rows = [source_row(tensor) for tensor in block.tensors if isinstance(tensor, SourceTensor)]
    parameters: dict[str, Any] = {"dtype": spec.dtype, "tensors": rows}
    decoded = [decoded_row(tensor) for tensor in block.tensors if isinstance(tensor, DecodedTensor)]
    if decoded:
        parameters["decoded"] = decoded
    files = needed | files_of(block.tensors)
    weight_bytes = sum(tensor.size_bytes for tensor in stored_tensors(block.tensors))
    if is_quantized:
        parameters["scheme"] = _scheme_json(scheme)
        parameters["recipe"] = recipe
        parameters["overrides"] = [[glob, _scheme_json(override)] for glob, override in overrides]
    if additions:
        inputs = dict(inputs)
        parameters["adapters"] = []
        for number, addition in enumerate(additions):
            name = f"adapter.{number}.config"
            inputs[name] = addition.configuration
            files |= {addition.configuration, addition.weights}
            rows = [source_row(tensor) for tensor in addition.tensors]
            parameters["adapters"].append({"config": name, "scale": addition.scale, "tensors": rows})
            weight_bytes += sum(tensor.size_bytes for tensor in addition.tensors)
    step = "quantize" if is_quantized else "convert"
    return BlockWork(block.label, step, parameters, inputs, weight_bytes, tuple(sorted(files)))


def _scheme_json(scheme: QuantizationScheme | None) -> dict[str, Any] | None:
    if scheme is None:
        return None
    return {"mode": scheme.mode, "bits": scheme.bits, "group_size": scheme.group_size}


def _model_tensors(base: LockedSource) -> tuple[LockedTensor, ...]:
    """The tensors in the files that mlx-lm reads (`model*.safetensors` beside config.json), sorted by name."""
    tensors = sorted(
        (tensor for tensor in base.tensors if tensor.file.startswith("model") and "/" not in tensor.file),
        key=lambda tensor: tensor.name,
    )
    if not tensors:
        raise UnusableSource(
            f"{base.identity} has no tensors in files named model*.safetensors",
            hint="use a model in the Hugging Face layout with safetensors weights",
        )
    for one, other in pairwise(tensors):
        if one.name == other.name:
            raise UnsafeWeights(
                f"tensor `{one.name}` is in both {one.file} and {other.file}",
                where=base.identity,
                hint="keep one set of weight files in the model's folder",
            )
    return tuple(tensors)


def _adapters_by_block(
    spec: ResolvedSpec, adapters: Sequence[LockedSource], blocks: Sequence[Block[ModelTensor]]
) -> Mapping[str, list[_Addition]]:
    by_block: dict[str, list[_Addition]] = {block.label: [] for block in blocks}
    all_names = [tensor.name for block in blocks for tensor in block.tensors]
    for adapter, source in zip(spec.adapters, adapters, strict=True):
        if _is_peft(source):
            continue
        tensors = [tensor for tensor in source.tensors if tensor.file == ADAPTER_WEIGHTS]
        if not tensors:
            raise UnusableSource(
                f"{source.identity} has neither {ADAPTER_WEIGHTS} nor {PEFT_WEIGHTS}",
                hint="use a LoRA adapter as mlx-lm or PEFT writes it",
            )
        configuration = _required(source, ADAPTER_CONFIGURATION).blob.digest
        weights = _required(source, ADAPTER_WEIGHTS).blob.digest
        labels = labels_of([*all_names, *(tensor.name for tensor in tensors)])
        members: dict[str, list[SourceTensor]] = {}
        for tensor in sorted(tensors, key=lambda tensor: tensor.name):
            members.setdefault(labels[tensor.name], []).append(_source_tensor(tensor, weights))
        for label, rows in members.items():
            if label not in by_block:
                raise UnusableSource(
                    f"adapter tensor `{rows[0].name}` belongs to no layer of the base model",
                    where=source.identity,
                    hint="is the adapter made for this base model?",
                )
            by_block[label].append(_Addition(adapter.scale, configuration, weights, tuple(rows)))
    return by_block


def _required(source: LockedSource, path: str) -> LockedFile:
    file = source.file(path)
    if file is None:
        raise UnusableSource(f"{source.identity} has no {path}", hint="use a complete model folder")
    return file
