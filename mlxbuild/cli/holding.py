"""Describes the weights of an artifact in one phrase: their quantization or dtype."""

from __future__ import annotations

from typing import Any

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.toolchain.spec.resolved import KEEP

_CONFIGURATION = "config.json"


def weights_told(artifact: Artifact) -> str:
    """The phrase, such as `mlx-affine-4bit-g64`, `bfloat16` or `keep (int4, groups of 64)`; empty if unknown."""
    settings = artifact.config.get("config", {})
    told = str(settings.get("quantization") or settings.get("precision") or "")
    return f"{KEEP} ({_kept(artifact) or told})" if _keeps(artifact) else told


def weights_in_short(artifact: Artifact) -> str:
    """The phrase for a table, such as `mlx-affine-4bit-g64`, `bfloat16` or `int4 (kept)`."""
    if not _keeps(artifact):
        return weights_told(artifact)
    scheme = _stated(artifact)
    return KEEP if scheme is None else f"{_name(scheme)} (kept)"


def _keeps(artifact: Artifact) -> bool:
    from mlxbuild.toolchain.rebuild import RECIPE_FILE

    if artifact.file(RECIPE_FILE) is None:
        return False
    quantization = artifact.read_object(RECIPE_FILE).get("quantization")
    return isinstance(quantization, dict) and quantization.get("label") == KEEP


def _kept(artifact: Artifact) -> str | None:
    """The quantization in config.json, and the number of modules with another one."""
    scheme = _stated(artifact)
    if scheme is None:
        return None
    others = [value for value in scheme.values() if isinstance(value, dict | bool)]
    more = f"; others for {len(others)} module{'s' if len(others) > 1 else ''}" if others else ""
    return f"{_name(scheme)}, groups of {scheme.get('group_size')}{more}"


def _stated(artifact: Artifact) -> dict[str, Any] | None:
    config = artifact.read_object(_CONFIGURATION) if artifact.file(_CONFIGURATION) is not None else {}
    scheme = config.get("quantization")
    return scheme if isinstance(scheme, dict) and isinstance(scheme.get("bits"), int) else None


def _name(scheme: dict[str, Any]) -> str:
    mode = scheme.get("mode", "affine")
    return f"int{scheme['bits']}" if mode == "affine" else str(mode)
