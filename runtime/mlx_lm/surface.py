"""The names of mlx-lm that are used, private ones included: what a release lacks is told before it is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mlxbuild.runtime.mlx_lm.package import package_folder

SURFACE: Mapping[str, tuple[str, ...]] = {
    "convert": ("mixed_quant_predicate_builder",),
    "models.bitlinear_layers": ("bitnet_quantize",),
    "models.cache": ("KVCache", "RotatingKVCache", "ArraysCache", "CacheList", "QuantizedKVCache", "make_prompt_cache"),
    "models.switch_layers": ("SwitchLinear",),
    "tokenizer_utils": ("_infer_thinking", "_infer_tool_parser", "_is_xtml_vocab"),
    "utils": (
        "MODEL_ARCHITECTURE_REMAPPING",
        "MODEL_REMAPPING",
        "dequantize_model",
        "get_total_parameters",
        "load_model",
    ),
}
"""Module to names that it has to define. Architectures are looked up by `model_type` and are not among them."""


def missing() -> tuple[str, ...]:
    """The names that the installed mlx-lm lacks, as `module.name`; imports nothing of it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    return tuple(_missing())


def _missing() -> Iterator[str]:
    for module, names in SURFACE.items():
        file = package_folder().joinpath(*module.split(".")).with_suffix(".py")
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        for name in names:
            if not re.search(rf"^(?:def |class )?{name}\b", text, re.MULTILINE):
                yield f"{module}.{name}"
