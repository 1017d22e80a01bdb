"""Parses the entry `quantization` that MLX writes to config.json.

`{"group_size": 64, "bits": 4, "mode": "affine", "model.layers.0.mlp.up_proj": {...}}`: the default, and exceptions by
module path. A missing mode is affine (older mlx-lm wrote none), `true` for a module is the default, and
`false` leaves it unquantized. Source: `mlx_lm.utils.load_model`, `mlx.nn.quantize`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from mlxbuild.toolchain.spec.resolved import QuantizationScheme

_MODE: Final = "affine"


def scheme_of(entry: Mapping[str, Any], path: str) -> QuantizationScheme | None:
    """The scheme of a module that has scales; None if the entry says that it is unquantized, or has none for it."""
    own = entry.get(path, True)
    if own is False:
        return None
    found = own if isinstance(own, dict) else entry
    bits, group_size = found.get("bits", entry.get("bits")), found.get("group_size", entry.get("group_size"))
    mode = found.get("mode", _MODE)
    if type(bits) is not int or type(group_size) is not int or not isinstance(mode, str):
        return None
    # Modes that MLX does not know are reported where the entry is checked against the tensors.
    return QuantizationScheme(cast(Any, mode), bits, group_size)


def schemes_in(entry: Mapping[str, Any]) -> list[QuantizationScheme]:
    """The default scheme and those of single modules, each once."""
    found = [scheme_of(entry, path) for path, own in entry.items() if isinstance(own, dict)]
    return list(dict.fromkeys(scheme for scheme in (scheme_of(entry, ""), *found) if scheme is not None))


def spelled_out(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The same entry with an explicit mode, and without `true`."""
    default = {key: entry[key] for key in ("bits", "group_size") if key in entry}
    default["mode"] = entry.get("mode", _MODE)
    return {**{key: dict(default) if own is True else own for key, own in entry.items()}, "mode": default["mode"]}
