"""Names the parameters of actions as a recipe names them; `toolchain.graph.reasons` tells how they changed."""

from __future__ import annotations

from collections.abc import Sequence

from mlxbuild.toolchain.graph.explain import joined

_WEIGHTS = {"scheme": "quantization", "recipe": "quantization.recipe", "overrides": "quantization.overrides"}
_GATE = {"max_bytes": "max"}
_NAMES = {"source": "base", "gates": "tests"}


def field_of(step: str, keys: Sequence[str | int], name: str = "") -> str:
    """The field of a recipe that a parameter comes from.

    Args:
        step: Kind of the action, or `spec` for the canonical form of a recipe.
        keys: Where the parameter stands below `parameters`, or in that form.
        name: The name of the gate.
    """
    first, *rest = keys
    match step:
        case "quantize" | "convert":
            return _joined(_WEIGHTS.get(str(first), first), rest)
        case "gate" | "measure":
            inner = rest if first == "parameters" else keys
            return _joined(f"tests.{name}", [_gate_key(inner[0]), *inner[1:]])
        case "pack" if first == "defaults" and rest:
            return _joined(rest[0], rest[1:]) if rest[0] != "parameters" else _joined("defaults", rest[1:])
        case "pack" if first == "licenses":
            return "license"
        case "spec" if first == "gates" and len(rest) > 1 and rest[1] == "parameters":
            return _joined("tests", [rest[0], *map(_gate_key, rest[2:])])
    if first == "quantization" and rest[:1] == ["scheme"]:
        rest = rest[1:]
    return _joined(_NAMES.get(str(first), first), rest)


def _gate_key(key: str | int) -> str | int:
    return _GATE.get(str(key), key) if isinstance(key, str) else key


def _joined(first: str | int, rest: Sequence[str | int]) -> str:
    """A dotted path; a key that contains dots itself, such as the glob of an override, is quoted."""
    keys = [f'"{key}"' if isinstance(key, str) and "." in key else key for key in rest]
    if first == "quantization.overrides" or keys[:1] == ["overrides"]:
        keys = [key for key in keys if key != 0]  # the row of an override has one value
    return joined([str(first), *keys])
