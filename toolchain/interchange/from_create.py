"""Converts the fields of Ollama's `create` request into a recipe."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml

from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.interchange.draft import RecipeDraft, spdx
from mlxbuild.toolchain.interchange.go_template import recognise
from mlxbuild.toolchain.sources.gguf.choice import choose
from mlxbuild.toolchain.sources.ollama.carried import PARAMETERS
from mlxbuild.toolchain.spec.initial import slug
from mlxbuild.toolchain.spec.resolved import SCHEMA
from mlxbuild.toolchain.weights.peft.source import ADAPTER_WEIGHTS, PEFT_WEIGHTS

File = TypeVar("File")

FILES_FOLDER, ADAPTER_FOLDER = "files", "adapter"
_QUANTIZATIONS = {
    **{name: name for name in ("int4", "int8", "mxfp4", "mxfp8", "nvfp4", "bf16")},
    **{"q4": "int4", "q4_k": "int4", "q4_k_m": "int4", "q4_k_s": "int4", "q4_0": "int4", "q4_1": "int4"},
    **{"q8": "int8", "q8_0": "int8", "f16": "fp16", "fp16": "fp16", "fp4": "nvfp4", "fp8": "mxfp8"},
}
"""Values of `quantize` to the quantization names of recipes."""
_DRAFT = "draft models are a setting of the server, `drafts`"
_OTHERS = {
    "renderer": "prompts are rendered by the artifact's own chat template",
    "parser": "think tags and tool calls are found in the chat template when the artifact is built",
    "requires": "it refers to Ollama's version",
    "draft_files": _DRAFT,
    "draft_quantize": _DRAFT,
    "info": "these facts are found in the model's files",
}


class NotCreatable(UserError):
    """A `create` request asks for something that no recipe can express."""

    code = "not-creatable"


@dataclass(frozen=True, slots=True)
class DraftedRecipe:
    """A recipe, and the files that belong beside it."""

    text: str
    files: Mapping[str, str]
    """Relative path to content of text files."""
    notes: tuple[str, ...]
    """What could not be converted, one sentence each."""


def recipe_from_fields(
    name: str, base: Mapping[str, Any], fields: Mapping[str, Any], *, parent: Mapping[str, Any], has_adapter: bool
) -> DraftedRecipe:
    """The recipe of a model with that name.

    Args:
        base: The base, as a recipe names it.
        fields: `system`, `template`, `parameters`, `messages`, `license`, `quantize`, ..., with validated types.
        parent: The defaults of the artifact that it is based on, which apply unless the fields override them.
        has_adapter: Whether there is an adapter beside the recipe.

    Raises:
        NotCreatable: there is no equivalent for the template or the quantization.
    """
    draft = RecipeDraft("the fields of a request")
    draft.defaults = dict(parent.get("parameters") or {})
    for key, value in (fields.get("parameters") or {}).items():
        _set_parameter(draft, key, value)
    licenses, files = licenses_of(fields.get("license"))
    recipe = {
        "schema": SCHEMA,
        "name": slug(name),
        "version": "1.0",
        "license": licenses,
        "base": dict(base),
        "quantization": quantization_named(fields.get("quantize") or fields.get("quantization")),
        "adapters": [{"path": ADAPTER_FOLDER}] if has_adapter else None,
        "prompt_template": _template(fields.get("template")),
        "system_prompt": fields.get("system") or parent.get("system_prompt"),
        "messages": [_message(each) for each in fields.get("messages") or parent.get("messages") or ()],
        "defaults": draft.defaults,
    }
    for key, reason in _OTHERS.items():
        if fields.get(key):
            draft.note(f"{key} is left out: {reason}")
    text = yaml.safe_dump({key: value for key, value in recipe.items() if value}, sort_keys=False, allow_unicode=True)
    return DraftedRecipe(text, files, tuple(draft.notes))


def base_of_files(paths: Collection[str]) -> dict[str, str]:
    """The recipe's `base` for files in `FILES_FOLDER`: their folder, or the GGUF file among them.

    Raises:
        SeveralFiles: there are several models.
        NotCreatable: the only GGUF files are not models.
    """
    if any(path.endswith(".safetensors") for path in paths) or not any(path.endswith(".gguf") for path in paths):
        return {"path": FILES_FOLDER}
    model = choose(paths, FILES_FOLDER, "send one of them, or all parts of one that is split")
    if model is None:
        raise NotCreatable("the files hold no language model", hint="send its GGUF file, or its first part, too")
    return {"gguf": f"{FILES_FOLDER}/{model}"}


def named_as_adapter(files: Mapping[str, File]) -> Mapping[str, File]:
    """Rename an adapter's files as a recipe expects: `ollama create` sends a folder's as `model.safetensors`."""
    weights = [path for path in files if path.endswith(".safetensors")]
    if len(weights) != 1 or weights[0] in (ADAPTER_WEIGHTS, PEFT_WEIGHTS):
        return files
    return {PEFT_WEIGHTS if path == weights[0] else path: file for path, file in files.items()}


def licenses_of(written: str | Sequence[str] | None) -> tuple[dict[str, Any] | str | None, dict[str, str]]:
    """The recipe's `license` for texts or an expression, and the files that it names."""
    texts = [written] if isinstance(written, str) else list(written or ())
    texts = [text for text in texts if text.strip()]
    if not texts:
        return None, {}
    if len(texts) == 1 and spdx(texts[0]) == texts[0].strip():
        return texts[0].strip(), {}
    files = {f"LICENSE{'' if number == 0 else f'.{number}'}": text for number, text in enumerate(texts)}
    return {"expression": spdx(texts[0]) or "LicenseRef-custom", "files": list(files)}, files


def quantization_named(wanted: str | None) -> str | None:
    """The recipe's `quantization` for one of Ollama's names or ours.

    Raises:
        NotCreatable: there is none of that name.
    """
    if not wanted:
        return None
    named = _QUANTIZATIONS.get(wanted.lower())
    if named is None:
        raise NotCreatable(f"there is no quantization `{wanted}`", hint=f"there are {', '.join(_QUANTIZATIONS)}")
    return named


def _set_parameter(draft: RecipeDraft, key: str, value: Any) -> None:
    if key == "stop":
        draft.defaults["stops"] = [value] if isinstance(value, str) else list(value)
    elif key not in PARAMETERS:
        draft.note(f"the parameter {key} is left out: a recipe has no such parameter")
    elif not (key == "num_predict" and isinstance(value, int) and value < 0):  # unlimited, as by default
        ours, form = PARAMETERS[key]
        is_whole = isinstance(value, int | float) and not isinstance(value, bool) and value == form(value)
        draft.set_default(ours, form(value) if is_whole else value, f"the parameter {key}")


def _template(text: str | None) -> dict[str, str] | None:
    """A Jinja template as it is, or a named template for a Go template of a common family; None if there is none."""
    if not text:
        return None
    found = recognise(text)
    if found.named is not None:
        return {"named": found.named}
    if "{{" in text and "{%" not in text and (".Prompt" in text or ".Messages" in text or ".System" in text):
        raise NotCreatable(
            "template error: a Go template that is none of the common ones cannot be carried",
            hint="write it in Jinja, or leave it out to keep the base's own",
        )
    return {"inline": text}


def _message(each: Mapping[str, Any]) -> dict[str, str]:
    return {"role": str(each.get("role") or ""), "content": str(each.get("content") or "")}
