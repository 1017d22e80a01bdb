"""Converts a KitOps Kitfile into a recipe, and reports what cannot be converted.

Format: https://github.com/kitops-ml/kitops, docs/src/docs/kitfile.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import TypeAdapter, ValidationError

from mlxbuild.registry.core.errors import Location
from mlxbuild.toolchain.interchange.draft import RecipeDraft, recipe_text
from mlxbuild.toolchain.interchange.errors import BadKitfile
from mlxbuild.toolchain.spec.initial import slug
from mlxbuild.toolchain.spec.resolved import SCHEMA
from mlxbuild.toolchain.spec.written.recipe import Version

LIMIT_BYTES = 4 << 20
_PARAMETERS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "repetition_penalty": "repeat_penalty",
    "max_tokens": "max_tokens",
    "seed": "seed",
    "context_length": "context",
}
"""Common names in `model.parameters`, which has no schema, to keys of `defaults`."""


def recipe_from_kitfile(data: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """The text of a recipe to be written beside the Kitfile, and what could not be converted.

    Raises:
        BadKitfile: it is not a valid Kitfile.
    """
    document = _read(data, str(path))
    package, model = _map(document, "package", path), _map(document, "model", path)
    draft = RecipeDraft("a Kitfile", name=slug(_text(package, "name") or path.absolute().parent.name))
    _version(draft, _text(package, "version"))
    draft.description = _text(package, "description") or _text(model, "description")
    if (license_text := _text(package, "license") or _text(model, "license")) is not None:
        draft.set_license(license_text, "license")
    _model(draft, model, path)
    for key in ("code", "datasets", "docs", "prompts", "mcpServers"):
        _leave(draft, key, document.get(key))
    for key in document.keys() - {"manifestVersion", "package", "model", "code", "datasets", "docs", "prompts"}:
        if key != "mcpServers":
            draft.note(f"{key}: a recipe has no such key.")
    return recipe_text(draft), tuple(draft.notes)


def _read(data: bytes, where: str) -> Mapping[str, Any]:
    if len(data) > LIMIT_BYTES:
        raise BadKitfile(f"it has more than {LIMIT_BYTES} bytes", where=where)
    try:
        document = yaml.safe_load(data)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = Location(where, mark.line + 1, mark.column + 1) if mark else where
        raise BadKitfile(f"it is not YAML: {error.problem}", where=place) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadKitfile(f"it is not YAML: {error}", where=where) from error
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise BadKitfile("it is not a map", where=where, hint="see https://kitops.org/docs/kitfile/format")
    return document


def _map(document: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise BadKitfile(f"`{key}` is not a map", where=str(path))
    return value


def _text(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    return str(value) if isinstance(value, str | int | float) and str(value) else None


def _version(draft: RecipeDraft, version: str | None) -> None:
    if version is None:
        return
    try:
        TypeAdapter(Version).validate_python(version)
    except ValidationError:
        draft.note(
            f"package.version {version}: {SCHEMA} has no such version; write one of letters, digits, `.` and `-`."
        )
    else:
        draft.version = version


def _model(draft: RecipeDraft, model: Mapping[str, Any], path: Path) -> None:
    written = _text(model, "path")
    if written is None:
        draft.note("model.path is missing; write where the safetensors come from as base.")
    elif written.endswith((".gguf", ".bin", ".onnx", ".pt", ".pth", ".pkl")):
        draft.note(f"model.path {written}: only safetensors can be built from; name the ones it was made of as base.")
    elif written.endswith(".safetensors"):
        draft.base = {"path": str(Path(written).parent)}
    elif not (path.absolute().parent / written).exists() and (":" in written or written.count("/") > 1):
        draft.note(
            f"model.path {written}: this names another ModelKit; unpack it with `kit unpack` and name its folder."
        )
    else:
        draft.base = {"path": written}
    parts = model.get("parts")
    for part in parts if isinstance(parts, list) else ():
        draft.note(
            f"model.parts {_where(part)}: everything is read from the folder of base; an adapter goes to adapters."
        )
    _parameters(draft, model.get("parameters"))


def _parameters(draft: RecipeDraft, parameters: Any) -> None:
    if isinstance(parameters, dict):
        for key, value in parameters.items():
            if key in _PARAMETERS and isinstance(value, int | float):
                draft.set_default(_PARAMETERS[key], value, f"model.parameters.{key}")
            else:
                draft.note(f"model.parameters.{key}: a recipe has no such parameter.")
    elif parameters is not None:
        draft.note("model.parameters: it is not a map and was left out.")


def _leave(draft: RecipeDraft, key: str, entries: Any) -> None:
    reasons = {
        "code": "artifacts hold no code",
        "datasets": "artifacts hold no data sets; name an evaluation text in a perplexity gate",
        "docs": "license texts go to license: {expression: …, files: […]}",
        "prompts": "a system prompt goes to system_prompt",
        "mcpServers": "artifacts name no servers",
    }
    for entry in entries if isinstance(entries, list) else ():
        draft.note(f"{key} {_where(entry)}: left out, {reasons[key]}.")


def _where(entry: Any) -> str:
    if isinstance(entry, dict):
        return str(entry.get("path") or entry.get("name") or "")[:200]
    return str(entry)[:200]
