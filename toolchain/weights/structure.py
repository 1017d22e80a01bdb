"""Determines which checkpoint tensors each parameter of a model is computed from, block by block, without weights.

The architecture's own `sanitize` runs once over placeholders for the whole tensor table. A placeholder that comes
out as the same object is passed through unchanged (perhaps under another name), so its bytes can be streamed. For
all others, the lazy graph tells from which blocks they are computed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.utils import tree_flatten

from mlxbuild.registry.core.digest import Digest
from mlxbuild.runtime.model.architecture import drop_idle_head, is_body
from mlxbuild.runtime.model.plausibility import require_plausible
from mlxbuild.toolchain.weights.blocks import HEAD, labels_of
from mlxbuild.toolchain.weights.declared import check_declared
from mlxbuild.toolchain.weights.dtypes import SAFETENSORS_NAMES
from mlxbuild.toolchain.weights.model import UnusableModel, make_model, sanitized
from mlxbuild.toolchain.weights.placeholders import Placeholders

TableRow = tuple[str, str, tuple[int, ...]]
"""(name, safetensors dtype, shape)"""

WHOLE: Final = "model"
"""The label of the single block for a model that is built as a whole."""

_KEPT = 2


@dataclass(frozen=True, slots=True)
class Output:
    """A parameter of the model before quantizing."""

    name: str
    source: str | None
    """The checkpoint tensor with the same bytes; None if the parameter is computed."""
    dtype: Any
    """An `mx.Dtype`."""
    shape: tuple[int, ...]
    blocks: frozenset[str]
    """Labels of the blocks that it is computed from."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A model without weights, and the origin of each parameter. Never evaluated, so threads may share it."""

    model: Any
    modules: Mapping[str, Any]
    """Leaf modules by path."""
    outputs: Mapping[str, tuple[Output, ...]]
    """Block label to the parameters that the block builds, sorted by name."""
    labels: Mapping[str, str]
    """Checkpoint tensor to the label of its block."""


_structures: OrderedDict[tuple[Digest, Digest, bool], Structure] = OrderedDict()
_lock = threading.Lock()


def structure_of(
    config: Mapping[str, Any], table: Sequence[TableRow], identity: tuple[Digest, Digest], *, whole: bool
) -> Structure:
    """The structure of a model; the last few are cached by `identity` (digests of config and table).

    Raises:
        UnsupportedArchitecture: mlx-lm has no code for it.
        ImplausibleConfiguration: the configuration describes a larger model than there are tensors for.
        UnusableModel: configuration and tensors do not fit together.
    """
    key = (*identity, whole)
    with _lock:
        structure = _structures.get(key)
        if structure is None:
            structure = _structures[key] = analyse(config, table, whole=whole)
            while len(_structures) > _KEPT:
                _structures.popitem(last=False)
        _structures.move_to_end(key)
        return structure


def analyse(config: Mapping[str, Any], table: Sequence[TableRow], *, whole: bool = False) -> Structure:
    """Determine the structure of a model; see `structure_of`. Call it on the CPU device."""
    names = [name for name, _, _ in table]
    labels = dict.fromkeys(names, WHOLE) if whole else dict(labels_of(names))
    require_plausible(config, [shape for _, _, shape in table])
    model = make_model(config)
    stand_ins = Placeholders()
    placeholders = {name: stand_ins.make(labels[name], name, dtype, shape) for name, dtype, shape in table}
    sources = {id(array): name for name, array in placeholders.items()}
    if is_body(config):
        drop_idle_head(model, names)
    arrays = _without_tied_head(config, model, sanitized(model, dict(placeholders)))
    outputs: dict[str, list[Output]] = {label: [] for label in set(labels.values())}
    for name in sorted(arrays):
        array = arrays[name]
        source = sources.get(id(array))
        blocks = stand_ins.groups_of(array) if source is None else frozenset({labels[source]})
        output = Output(name, source, array.dtype, tuple(array.shape), blocks)
        for label in blocks or {_home_of_constant(name, labels)}:
            outputs[label].append(output)
    modules: dict[str, Any] = dict(tree_flatten(model.leaf_modules(), is_leaf=lambda value: isinstance(value, Module)))
    _check_complete(model, modules, arrays, config.get("quantization"))
    return Structure(model, modules, {label: tuple(members) for label, members in outputs.items()}, labels)


def _without_tied_head(config: Mapping[str, Any], model: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays without a head that a model with tied embeddings lacks: mlx-lm drops it only at the top level."""
    text = config.get("text_config")
    if not {**config, **(text if isinstance(text, dict) else {})}.get("tie_word_embeddings", True):
        return arrays
    flat: Any = tree_flatten(model.parameters())
    known = {name for name, _ in flat}
    idle = {name for name in arrays.keys() - known if name.rpartition(".")[0].endswith("lm_head")}
    return {name: array for name, array in arrays.items() if name not in idle}


def _home_of_constant(name: str, labels: Mapping[str, str]) -> str:
    """The label of the block that stores a parameter which is not computed from any tensor."""
    known = sorted(set(labels.values()))
    label = labels_of([*labels, name])[name]
    return label if label in known else HEAD if HEAD in known else known[-1]


def _check_complete(model: Any, modules: Mapping[str, Any], arrays: Mapping[str, mx.array], entry: Any) -> None:
    """Check names and shapes like `Module.load_weights(strict=True)`."""
    flat: Any = tree_flatten(model.parameters())
    parameters = {name: tuple(value.shape) for name, value in flat}
    floats = {name for name, value in flat if mx.issubdtype(value.dtype, mx.floating)}
    if isinstance(entry, dict):
        for path, module in modules.items():
            if hasattr(module, "to_quantized") and f"{path}.scales" in arrays:
                if f"{path}.weight" in arrays:
                    check_declared(path, parameters[f"{path}.weight"], arrays, entry)
                for suffix in ("weight", "scales", "biases", "global_scale"):
                    if f"{path}.{suffix}" in arrays:
                        floats.discard(f"{path}.{suffix}")
                        parameters[f"{path}.{suffix}"] = tuple(arrays[f"{path}.{suffix}"].shape)
    missing = sorted(parameters.keys() - arrays.keys())
    unexpected = sorted(arrays.keys() - parameters.keys())
    for names, what in ((missing, "the weights lack"), (unexpected, "the architecture does not know")):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise UnusableModel(
                f"{what} {', '.join(f'`{name}`' for name in names[:5])}{more}",
                hint="are all weight files of the model there, and does config.json belong to them?",
            )
    for name in sorted(floats):
        if not mx.issubdtype(arrays[name].dtype, mx.floating):
            raise UnusableModel(
                f"`{name}` is stored as {SAFETENSORS_NAMES[arrays[name].dtype]}, where the architecture wants floats",
                hint="if the weights are quantized, config.json has to say how; else give them as floats",
            )
    for name, shape in parameters.items():
        if shape != tuple(arrays[name].shape):
            raise UnusableModel(
                f"`{name}` has shape {list(arrays[name].shape)}, but config.json means {list(shape)}",
                hint="does config.json belong to these weights?",
            )
