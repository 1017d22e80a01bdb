"""Reads a source's configuration, and creates mlx-lm's model object for it without weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from mlxbuild.registry.core.errors import MlxbuildError, StepError
from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.runtime.model.architecture import model_classes

_FLOAT_TAG: Final = "__float__"  # how transformers writes numbers that JSON lacks
_FLOATS: Final = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}

_PACKED_METHODS: Final = frozenset(
    {"awq", "compressed-tensors", "gptq", "modelopt", "mxfp4", "mxfp8", "bitsandbytes", "hqq", "quanto"}
)


class UnusableModel(StepError):
    """The source's configuration and weights do not form a model that mlx-lm can load."""

    code = "unusable-model"


def read_configuration(data: bytes, where: str = "config.json") -> dict[str, Any]:
    """Parse a `config.json` as mlx-lm does.

    Raises:
        UnusableModel: it is not a JSON object, or requires custom code.
    """
    try:
        config = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnusableModel(f"{where} is not valid JSON ({error})", where=where) from None
    if not isinstance(config, dict):
        raise UnusableModel(f"{where} is not a JSON object", where=where)
    if config.get("model_file") is not None:
        raise UnusableModel(
            "config.json asks to run Python code of the model's repository (`model_file`)",
            where="config.json",
            hint="use a model whose architecture mlx-lm knows",
        )
    decoded = _with_floats(config)
    assert isinstance(decoded, dict)
    return decoded


def is_quantized(config: Mapping[str, Any]) -> bool:
    """Whether MLX has already quantized the weights."""
    return config.get("quantization") is not None


def is_ternary(config: Mapping[str, Any]) -> bool:
    """Whether the weights are BitNet's, four numbers of -1, 0 and 1 per byte, which mlx-lm reads unchanged."""
    packing = config.get("quantization_config")
    return not is_quantized(config) and isinstance(packing, dict) and packing.get("quant_method") == "bitnet"


def check_packing(config: Mapping[str, Any]) -> None:
    """Refuse weights that another tool has packed in a way that needs the whole model to be loaded.

    Raises:
        UnusableModel: the weights are packed in such a way.
    """
    if is_quantized(config):
        return
    text = config.get("text_config")
    packing = config.get("quantization_config") or (isinstance(text, dict) and text.get("quantization_config"))
    if not isinstance(packing, dict):
        return
    method = packing.get("quant_method")
    if method in _PACKED_METHODS or (method == "fp8" and packing.get("scale_fmt") == "ue8m0"):
        raise UnusableModel(
            f"the weights are already quantized by `{method}`",
            where="config.json",
            hint="use the model in float16, bfloat16 or float32, or one that MLX has quantized",
        )


def make_model(config: Mapping[str, Any]) -> Any:
    """Create mlx-lm's model object for a configuration; its arrays are lazy and never evaluated.

    Raises:
        UnsupportedArchitecture: mlx-lm has no code for it.
        UnusableModel: mlx-lm's code rejects the configuration.
    """
    try:
        model_class, arguments_class = model_classes(config)
        model = model_class(arguments_class.from_dict(dict(config)))
        return _ternary(model, config["quantization_config"]) if is_ternary(config) else model
    except MlxbuildError:
        raise
    except (Exception, SystemExit) as error:  # a module without its dependencies calls exit
        raise UnusableModel(
            f"mlx-lm cannot make a `{config.get('model_type')}` model of this configuration: {_told(error)}",
            where="config.json",
            hint="is config.json complete, and made for this architecture?",
        ) from error


def _ternary(model: Any, packing: Mapping[str, Any]) -> Any:
    return submodule("models.bitlinear_layers").bitnet_quantize(model, packing)


def sanitized(model: Any, weights: dict[str, Any]) -> dict[str, Any]:
    """The tensors of a checkpoint as the architecture arranges them: renamed, stacked, transposed or dropped; all lazy.

    Raises:
        UnusableModel: the tensors do not belong to such a model.
    """
    if "embed_tokens.weight" in weights and hasattr(model, "model"):  # a base model that was saved without its head
        weights = {f"model.{name}": array for name, array in weights.items()}
    if not hasattr(model, "sanitize"):
        return weights
    arranged = _arranged(model, dict(weights))
    paths = {path for path, _ in model.named_modules()}
    if any(name.endswith(".scales") and name.removesuffix(".scales") not in paths for name in arranged):
        return _leaf_by_leaf(model, weights)
    return arranged


def _leaf_by_leaf(model: Any, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Arrange scales and biases that an architecture's code does not know, such as those of single experts.

    Each kind is arranged under the name of the weights: code that renames, stacks or splits by rows treats all three
    alike.
    """
    packed = sorted(name.removesuffix(".scales") for name in weights if name.endswith(".scales"))
    leaves = {f"{path}.{leaf}" for path in packed for leaf in ("weight", "scales", "biases")}
    runs = {}
    for leaf in ("weight", "scales", "biases"):
        own = {f"{path}.weight": weights[f"{path}.{leaf}"] for path in packed if f"{path}.{leaf}" in weights}
        if own:
            given = {name: own.get(name, array) for name, array in weights.items() if name in own or name not in leaves}
            runs[leaf] = _arranged(model, given)
    arranged = runs.pop("weight")
    for name in [name for name in arranged if _is_packed(arranged[name])]:
        for leaf, run in runs.items():
            if name in run:
                arranged[f"{name.removesuffix('.weight')}.{leaf}"] = run[name]
    # Those that belong to no packed matrix keep their names, and are refused later like any unknown tensor.
    idle = [path for path in packed if not _is_packed(weights.get(f"{path}.weight"))]
    stray = [f"{path}.{leaf}" for path in idle for leaf in ("scales", "biases")]
    return {**arranged, **{name: weights[name] for name in stray if name in weights}}


def _is_packed(weight: Any) -> bool:
    return weight is not None and str(weight.dtype).endswith("uint32")


def _arranged(model: Any, weights: dict[str, Any]) -> dict[str, Any]:
    try:
        result = model.sanitize(weights)
    except Exception as error:
        raise UnusableModel(
            f"mlx-lm cannot arrange the tensors of this model: {_told(error)}",
            hint="are all weight files of the model there, and does config.json belong to them?",
        ) from error
    assert isinstance(result, dict)
    return result


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _with_floats(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_FLOAT_TAG} and value[_FLOAT_TAG] in _FLOATS:
            return _FLOATS[value[_FLOAT_TAG]]
        return {key: _with_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_floats(item) for item in value]
    return value
