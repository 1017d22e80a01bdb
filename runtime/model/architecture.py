"""From a model's configuration to the classes that compute it, mlx-lm's or our own. Weights are loaded elsewhere."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.suggestions import nearest
from mlxbuild.runtime.mlx_lm.package import package_folder, submodule, tables
from mlxbuild.runtime.model import encoders


class UnsupportedArchitecture(UserError):
    """The installed mlx-lm has no code for this kind of model."""

    code = "unsupported-architecture"


def model_classes(config: Mapping[str, Any]) -> tuple[type[Any], type[Any]]:
    """The `Model` and `ModelArgs` classes for a `config.json`, without importing transformers.

    Encoders are our own; all others are chosen as in `mlx_lm.utils._get_classes`, renamed model types included.

    Raises:
        UnsupportedArchitecture: there is no `model_type`, or mlx-lm does not know it.
    """
    name = module_name(config)
    if is_encoder(config):
        module = importlib.import_module(f"mlxbuild.runtime.model.encoders.{name}")
        return module.Model, module.ModelArgs
    try:
        module = submodule(f"models.{name}")
        return (_body_of(module.Model) if is_body(config) else module.Model), module.ModelArgs
    except AttributeError:
        raise _unsupported(name) from None
    except (ImportError, SystemExit) as error:  # some of them exit when a library is missing
        raise UnsupportedArchitecture(
            f"mlx-lm's code for `{name}` cannot be imported: {error}",
            hint="it may need a library that is not installed",
        ) from None


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is that of an encoder, with bidirectional attention and no text output."""
    return str(config.get("model_type")) in encoders.FILES


def is_body(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is that of a decoder saved without its language-model head, such as a `MistralModel`."""
    architectures = config.get("architectures") or ("",)
    first = architectures if isinstance(architectures, str) else str(architectures[0])
    return first.endswith("Model") and not first.endswith("LMHeadModel") and not is_encoder(config)


def drop_idle_head(model: Any, names: Iterable[str]) -> None:
    """Let a model work without its language-model head if none of the weights belongs to it."""
    if "lm_head" in model and not any(name.startswith("lm_head.") for name in names):
        model.pop("lm_head")


def _body_of(model_class: type[Any]) -> type[Any]:
    class Body(model_class):  # type: ignore[misc]
        """The same model, which accepts weights without a head."""

        def load_weights(self, weights: Any, strict: bool = True) -> Any:
            drop_idle_head(self, (name for name, _ in weights))
            return super().load_weights(weights, strict)

    return Body


def module_name(config: Mapping[str, Any]) -> str:
    """The module in `mlx_lm.models`, or that of an encoder, for a `config.json`. Imports neither mlx nor mlx-lm.

    Raises:
        UnsupportedArchitecture: there is no `model_type`, or mlx-lm does not know it.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise UnsupportedArchitecture(
            "config.json names no model_type",
            hint="use a language model in the Hugging Face layout",
        )
    if model_type in encoders.FILES:
        return encoders.FILES[model_type]
    renamed, renamed_by_architecture = _renamings()
    architectures = config.get("architectures") or ()
    for architecture in (architectures,) if isinstance(architectures, str) else architectures:
        if (model_type, architecture) in renamed_by_architecture:
            name = renamed_by_architecture[model_type, architecture]
            break
    else:
        name = renamed.get(model_type, model_type)
    if name not in _modules():
        raise _unsupported(model_type)
    return name


def _unsupported(model_type: str) -> UnsupportedArchitecture:
    near = nearest(model_type, sorted(_modules() | set(_renamings()[0]) | set(encoders.FILES)))
    hint = f"did you mean {', '.join(near)}?" if near else "a newer mlx-lm may know it"
    return UnsupportedArchitecture(f"mlx-lm does not support model_type `{model_type}`", hint=hint)


@functools.cache
def _modules() -> frozenset[str]:
    return frozenset(path.stem for path in (package_folder() / "models").glob("*.py")) - {"__init__"}


@functools.cache
def _renamings() -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    found = tables("utils", "MODEL_REMAPPING", "MODEL_ARCHITECTURE_REMAPPING")
    return found["MODEL_REMAPPING"], found["MODEL_ARCHITECTURE_REMAPPING"]


def embedding_rows(config: Mapping[str, Any]) -> int | None:
    """The number of embedding rows in a configuration; None if the code of the architecture decides it."""
    text = config.get("text_config")
    rows = {**config, **(text if isinstance(text, dict) else {})}.get("vocab_size")
    return rows if isinstance(rows, int) and rows > 0 else None
