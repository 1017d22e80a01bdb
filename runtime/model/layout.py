"""Checks that mlx-lm accepts the weights of a folder, by building a graph without evaluating it. Loading: `load`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.errors import StepError
from mlxbuild.runtime.mlx_lm.package import submodule, utils
from mlxbuild.runtime.model.architecture import is_body, is_encoder, model_classes
from mlxbuild.runtime.model.plausibility import ImplausibleConfiguration, require_plausible_folder
from mlxbuild.runtime.model.threads import leave_streams_in_order

NO_METAL = "No Metal back-end"
"""MLX's message if a Metal kernel is used on another machine."""


class WeightsUnusable(StepError):
    """mlx-lm's code for a model does not accept its weights in this form."""

    code = "weights-unusable"


def require_usable(folder: Path) -> None:
    """Let mlx-lm load `config.json` and `model*.safetensors` of a folder, and build the graph for two tokens.

    Only headers are read. A model that needs Metal passes, as it may be meant for another machine.

    Raises:
        WeightsUnusable: mlx-lm fails.
        ImplausibleConfiguration: the configuration describes more than the weights contain.
    """
    import mlx.core as mx

    leave_streams_in_order()
    try:
        require_plausible_folder(folder)
        model, config = utils().load_model(folder, lazy=True, get_model_classes=model_classes)
        if not (is_encoder(config) or is_body(config)):
            layers: Any = submodule("models.cache").make_prompt_cache(model)
            model(mx.array([[0, 0]]), cache=layers)
    except ImplausibleConfiguration:
        raise
    except Exception as error:
        if NO_METAL in str(error):
            return
        raise WeightsUnusable(
            f"mlx-lm's code for `{_model_type(folder)}` does not take these weights: {type(error).__name__}: {error}",
            hint="try another `quantization`, or an `override` that leaves modules unquantized",
        ) from error


def _model_type(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_bytes()).get("model_type")
