"""Writes the text of a first recipe for a model, with explanatory comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mlxbuild.runtime.model.architecture import is_encoder
from mlxbuild.toolchain.spec.resolved import SCHEMA, FolderSource, HubSource
from mlxbuild.toolchain.spec.written.chat import DefaultsForm
from mlxbuild.toolchain.spec.written.recipe import License, Name

SCHEMA_FILE = "modelspec.v1.schema.json"
"""The schema that the first line refers editors to; `mlxbuild schema` writes it."""

_PLAIN = re.compile(r"(?:[A-Za-z_]|\.{0,2}/)[A-Za-z0-9_./-]*")
_NO_TEXTS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""Words that YAML does not read as text."""
_COMPLETE = '  # - complete: {messages: [{role: user, content: "What is 2+2?"}], expect: {contains: "4"}}'
_GENERATION = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
}
"""Keys of generation_config.json to keys of `defaults`."""


@dataclass(frozen=True, slots=True)
class GgufWeights:
    """The facts about a GGUF file's weights that comments mention."""

    types: tuple[tuple[str, int], ...]
    """Type and number of its matrices, the most common first."""
    rounded: tuple[str, ...] = ()
    """The types among them that have to be quantized a second time."""
    repository: str | None = None
    """The Hub repository of the model that the file was converted from."""


def initial_recipe(
    base: HubSource | FolderSource,
    config: Mapping[str, Any],
    *,
    tokenizer_config: Mapping[str, Any] | None = None,
    generation_config: Mapping[str, Any] | None = None,
    license_expression: str | None = None,
    description: str | None = None,
    name: str | None = None,
    gguf: GgufWeights | None = None,
) -> str:
    """A recipe that passes `lint`, for a model with this config.json and, if given, other configuration files.

    `config` and the others are untrusted: values that are not valid in a recipe are left out.
    """
    place = base.repository if isinstance(base, HubSource) else _name_of_folder(base.path)
    written = place if base.gguf is None else PurePosixPath(base.gguf).name
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# Editors complete and check this file after: mlxbuild schema > {SCHEMA_FILE}",
        f"schema: {SCHEMA}",
        f"name: {name or slug(written)}",
        'version: "1.0"  # quoted, or YAML would read 1.10 as 1.1',
        f"description: {_text(description or f'{_architecture(config)} from {written}')}",
        *_license(license_expression),
        "",
        *_base(base),
        "",
        *(_quantization(config) if gguf is None else _kept(gguf)),
        "",
        *(_pooling() if is_encoder(config) else _answers(tokenizer_config, config, generation_config or {}, gguf)),
        "",
        "# One artifact per point of a matrix; `mlxbuild create` builds them all.",
        "# variants:",
        f"#   quantization: [{'int4' if gguf is None else 'keep'}, int8]",
        "",
        "# Gates that the artifact must pass before it gets its name.",
        "tests:",
        "  - contents: {require: [config.json, tokenizer.json], forbid: ['*.py', '*.bin']}",
        *(() if is_encoder(config) else (_COMPLETE,)),
        "  # - size: {max: 450MiB}",
    ]
    return "\n".join(lines) + "\n"


def _answers(
    tokenizer_config: Mapping[str, Any] | None,
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    gguf: GgufWeights | None,
) -> Iterator[str]:
    yield from _template(tokenizer_config, gguf)
    yield ""
    yield from _defaults(config, generation)


def _pooling() -> Iterator[str]:
    yield "# The pooling is read from 1_Pooling/config.json and modules.json; without them it is the mean."
    yield "# pooling: mean  # or cls, last"


def slug(text: str) -> str:
    """A valid recipe name made from the last part of a text."""
    last = text.rstrip("/").rpartition("/")[2].lower()
    name = re.sub(r"[^a-z0-9.]+", "-", last)
    name = re.sub(r"\.[.-]*|-[.-]+", lambda match: match[0][0], name)[:63].strip(".-")
    return name if _fits(Name, name) else "my-model"


def _name_of_folder(path: Path) -> str:
    """Its name, or for a snapshot in the Hub's cache the repository: `models--owner--name/snapshots/<commit>`."""
    if path.parent.name == "snapshots" and path.parents[1].name.startswith("models--"):
        return path.parents[1].name.removeprefix("models--").replace("--", "/")
    return path.name


def _base(base: HubSource | FolderSource) -> Iterator[str]:
    yield "# Where the weights come from; `mlxbuild lock` pins every file by its sha256."
    yield "base:"
    if isinstance(base, FolderSource):
        is_elsewhere = base.written.startswith(("/", "../"))
        note = "  # elsewhere: the recipe works only where this is, and `lint --portable` refuses it"
        file = base.gguf and str(PurePosixPath(base.written, base.gguf))
        yield f"  {'gguf' if file else 'path'}: {_text(file or base.written)}{note if is_elsewhere else ''}"
        return
    yield f"  hf_repo: {_text(base.repository)}"
    yield f"  revision: {_text(base.revision)}  # a branch, a tag or a commit"
    if base.gguf is not None:
        yield f"  file: {_text(base.gguf)}"
    if base.include:
        yield f"  include: {json.dumps(list(base.include), ensure_ascii=False)}"


def _license(expression: str | None) -> Iterator[str]:
    if expression is not None and _fits(License, expression):
        yield f"license: {_text(expression)}"
    else:
        yield "# license: Apache-2.0  # an SPDX expression"


def _quantization(config: Mapping[str, Any]) -> Iterator[str]:
    if "quantization" in config or "quantization_config" in config:
        yield "# The base is quantized already and stays as it is."
        yield "quantization: keep"
        return
    yield "# none, fp16, bf16, int8, int4, mxfp4, mxfp8, nvfp4, or a map:"
    yield '#   {bits: 4, group_size: 64, recipe: mixed_4_6, overrides: {"lm_head": int8}}'
    yield "quantization: int8" if is_encoder(config) else "quantization: int4"


def _kept(weights: GgufWeights) -> Iterator[str]:
    yield f"# Matrices in the file: {', '.join(f'{count} of {kind}' for kind, count in weights.types)}."
    if weights.rounded:
        yield f"# MLX has no equivalent for {', '.join(weights.rounded)}, so this rounds a second time."
        yield "# Better use a file of Q4_K_M or Q8_0, which can stay as it is."
        yield "quantization: int8"
    else:
        yield "# They stay as they are. Another quantization would round a second time."
        yield "quantization: keep"


def _template(tokenizer_config: Mapping[str, Any] | None, gguf: GgufWeights | None) -> Iterator[str]:
    if gguf is not None:
        yield "# The tokenizer is rebuilt from the file; the publisher's own would be taken by"
        yield f"# tokenizer: {{hf_repo: {_text(gguf.repository or 'organisation/name')}}}"
        yield ""
    yield "# The chat template: inherit, {named: chatml}, {file: chat.jinja} or {inline: ...}."
    yield "prompt_template: inherit"
    if tokenizer_config is not None and "chat_template" not in tokenizer_config:
        if gguf is not None:
            yield "# The file holds no template: name one above, if the model is one to chat with."
            return
        yield "# tokenizer_config.json holds no template; without a chat_template.jinja beside it, name one above."
    yield "# system_prompt: You are a helpful assistant.  # or {file: system.md}"


def _defaults(config: Mapping[str, Any], generation: Mapping[str, Any]) -> Iterator[str]:
    text_config = config.get("text_config")
    of_text: Mapping[str, Any] = text_config if isinstance(text_config, Mapping) else config
    wanted = {ours: generation[theirs] for theirs, ours in _GENERATION.items() if theirs in generation}
    wanted["context"] = of_text.get("max_position_embeddings", config.get("max_position_embeddings"))
    kept = {key: value for key, value in wanted.items() if value is not None and _is_default(key, value)}
    yield "# Used by requests that do not set their own."
    yield "defaults:" if kept else "# defaults: {temperature: 0.7}"
    for key, value in kept.items():
        yield f"  {key}: {json.dumps(value)}"


def _is_default(key: str, value: Any) -> bool:
    try:
        DefaultsForm.model_validate({key: value})
    except ValidationError:
        return False
    return True


def _architecture(config: Mapping[str, Any]) -> str:
    model_type = config.get("model_type")
    return model_type if isinstance(model_type, str) and _PLAIN.fullmatch(model_type) else "A model"


def _text(value: str) -> str:
    """A YAML scalar for a text: plain if that is safe, else quoted as JSON, which YAML reads in the same way."""
    return (
        value if _PLAIN.fullmatch(value) and value.lower() not in _NO_TEXTS else json.dumps(value, ensure_ascii=False)
    )


def _fits(form: Any, value: str) -> bool:
    try:
        TypeAdapter(form).validate_python(value)
    except ValidationError:
        return False
    return True
