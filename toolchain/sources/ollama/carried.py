"""Converts an Ollama model's `params`, `system` and `messages` to defaults of an artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from mlxbuild.registry.core import canonical_json
from mlxbuild.toolchain.sources.ollama.manifest import BrokenOllamaManifest
from mlxbuild.toolchain.spec.written.chat import DefaultsForm

PARAMETERS: Final[dict[str, tuple[str, type]]] = {
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "min_p": ("min_p", float),
    "repeat_penalty": ("repeat_penalty", float),
    "top_k": ("top_k", int),
    "seed": ("seed", int),
    "num_ctx": ("context", int),
    "num_predict": ("max_tokens", int),
}
"""Ollama's parameter to a key of `defaults` and its type."""

_ROLES = ("system", "user", "assistant")


def defaults_document(
    parameters: bytes | None, system: bytes | None, messages: bytes | None, where: str
) -> bytes | None:
    """The defaults of a model in the form that an artifact stores; None if it sets nothing.

    Parameters that recipes do not have, and values out of range, are left out; `lost` names them.

    Raises:
        BrokenOllamaManifest: a layer is malformed.
    """
    set_ones = {key: value for key, value, _ in _translated(parameters, where) if key is not None}
    conversation = _messages(messages, where)
    if not set_ones and system is None and not conversation:
        return None
    document = {
        "system_prompt": _text(system, where) if system is not None else None,
        "messages": conversation,
        "parameters": set_ones,
    }
    return canonical_json.encode(document)


def lost(parameters: bytes | None, where: str) -> tuple[str, ...]:
    """The parameters that cannot be converted.

    Raises:
        BrokenOllamaManifest: the layer is malformed.
    """
    return tuple(name for key, _, name in _translated(parameters, where) if key is None)


def _translated(parameters: bytes | None, where: str) -> Sequence[tuple[str | None, Any, str]]:
    """(key of `defaults`, value, Ollama's name) of each parameter; the key is None if it cannot be converted."""
    found: list[tuple[str | None, Any, str]] = []
    for name, value in sorted(_object(parameters, "params", where).items()):
        if name == "num_predict" and isinstance(value, int) and value < 0:
            continue  # unlimited, as by default
        key, translated = ("stops", _stops(value)) if name == "stop" else _number(name, value)
        found.append((key if key is not None and _fits(key, translated) else None, translated, name))
    return found


def _stops(value: Any) -> Any:
    return [value] if isinstance(value, str) else list(dict.fromkeys(value)) if _texts(value) else value


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _number(name: str, value: Any) -> tuple[str | None, Any]:
    if name not in PARAMETERS or isinstance(value, bool) or not isinstance(value, int | float):
        return None, value
    key, form = PARAMETERS[name]
    return (key, form(value)) if abs(value) < 1e12 and form(value) == value else (None, value)


def _fits(key: str, value: Any) -> bool:
    try:
        DefaultsForm.model_validate({key: value})
    except ValidationError:
        return False
    return True


def _object(data: bytes | None, kind: str, where: str) -> Mapping[str, Any]:
    value = {} if data is None else _json(data, kind, where)
    if not isinstance(value, dict):
        raise _broken(kind, where)
    return value


def _messages(data: bytes | None, where: str) -> list[dict[str, str]]:
    written = [] if data is None else _json(data, "messages", where)
    if not isinstance(written, list):
        raise _broken("messages", where)
    for each in written:
        sound = isinstance(each, dict) and each.get("role") in _ROLES and isinstance(each.get("content"), str)
        if not sound:
            raise _broken("messages", where)
    return [{"role": each["role"], "content": each["content"]} for each in written]


def _json(data: bytes, kind: str, where: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise _broken(kind, where) from None


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _broken("system", where) from None


def _broken(kind: str, where: str) -> BrokenOllamaManifest:
    return BrokenOllamaManifest(
        f"the layer `{kind}` of `{where}` is not what Ollama writes there", where=where, hint="name another tag"
    )
