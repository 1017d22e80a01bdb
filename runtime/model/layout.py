"""Whether mlx-lm's code takes the weights of a folder: laid out, with nothing computed. Loading them: `load`."""

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
"""What MLX says where a kernel of Metal is asked for on another machine."""


class WeightsUnusable(StepError):
    """mlx-lm's code for a model does not take its weights in this form."""

    code = "weights-unusable"


def require_usable(folder: Path) -> None:
    """Have mlx-lm load `config.json` and `model*.safetensors` of a folder, and lay out a pass of two tokens.

    Only headers are read. What needs Metal passes: it may be meant for another machine.

    Raises:
        WeightsUnusable: that fails.
        ImplausibleConfiguration: the configuration speaks of more than there is.
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
            hint="another `quantization` may do, or an `override` that leaves modules as they are",
        ) from error


def _model_type(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_bytes()).get("model_type")
