"""`POST /api/show`: the details of a model, from its artifact."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.registry.artifact.files import FileRole
from mlxbuild.runtime.model.files import TEMPLATE_FILE
from mlxbuild.runtime.server.application import Application, application_of
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.models.catalogue import ListedModel, describe
from mlxbuild.runtime.server.models.names import display_name, find_model, parse_name
from mlxbuild.runtime.server.ollama.body import ModelBody
from mlxbuild.runtime.server.ollama.failures import names_told
from mlxbuild.runtime.server.ollama.inference import json_answer
from mlxbuild.runtime.server.ollama.models import details
from mlxbuild.runtime.server.ollama.tensors import tensors

_WIDTH = 30
_LONGEST_LIST = 5


class ShowBody(ModelBody):
    """The body of `POST /api/show`."""

    verbose: bool = False
    system: str = ""


async def show(request: Request, body: ShowBody) -> HTTPResponse:
    """Show one model."""
    if not body.named:
        raise InvalidRequest("model is required")
    with names_told(body.named):
        normalised = display_name(parse_name(body.named).store_name)
    with names_told(body.named, not_found=f"model '{normalised}' not found"):
        return json_answer(await asyncio.to_thread(_shown, application_of(request), body))


def _shown(application: Application, body: ShowBody) -> dict[str, Any]:
    reference, digest = find_model(application.store, body.named)
    model = describe(application.store, digest)
    defaults = model.defaults
    system = body.system or defaults.get("system_prompt") or ""
    told: dict[str, Any] = {
        "license": "\n".join(_licenses(model)),
        "modelfile": "\n".join(_modelfile(str(reference), model, system)),
        "parameters": "\n".join(_parameters(defaults)),
        "template": _text(model, TEMPLATE_FILE),
        "system": system,
        "details": details(model),
        "messages": list(defaults.get("messages") or ()),
        "model_info": _model_info(model, is_verbose=body.verbose),
        "tensors": list(tensors(model.artifact)) if body.verbose else [],
        "capabilities": list(model.capabilities),
        "modified_at": model.modified.isoformat(),
        "digest": digest.hex,
    }
    always = ("digest", "details", "model_info", "capabilities", "modified_at", "modelfile", "parameters", "template")
    return {key: value for key, value in told.items() if value or key in always}


def _licenses(model: ListedModel) -> Iterator[str]:
    for file in model.artifact.files:
        if file.role is FileRole.DOC and "licen" in file.path.lower():
            yield model.artifact.read(file.path).decode(errors="replace")


def _parameters(defaults: Mapping[str, Any]) -> Iterator[str]:
    """One line for each value, as Ollama's client prints them."""
    for name, value in (defaults.get("parameters") or {}).items():
        for each in value if isinstance(value, list) else [value]:
            yield f"{_OLLAMA_NAMES.get(name, name):<{_WIDTH}} {json.dumps(each, ensure_ascii=False)}"


_OLLAMA_NAMES = {"max_tokens": "num_predict", "context": "num_ctx", "stops": "stop"}


def _modelfile(name: str, model: ListedModel, system: str) -> Iterator[str]:
    """A Modelfile that derives the same model from this one; its own recipe is shown by `mlxbuild show --recipe`."""
    yield "# Built by mlxbuild; this makes another model of the same weights and template."
    yield f"FROM {name}"
    for line in _parameters(model.defaults):
        yield f"PARAMETER {' '.join(line.split(maxsplit=1))}"
    if system:
        yield f'SYSTEM """{system}"""'
    for message in model.defaults.get("messages") or ():
        yield f"MESSAGE {message.get('role')} {message.get('content')}"


def _model_info(model: ListedModel, *, is_verbose: bool) -> dict[str, Any]:
    """The contents of `config.json` under GGUF's metadata keys."""
    config, family = model.config, model.family
    text: Mapping[str, Any] = config.get("text_config") or config
    named = {
        "general.architecture": family,
        "general.file_type": model.quantization,
        "general.parameter_count": model.artifact.config.get("config", {}).get("parameterCount"),
        f"{family}.context_length": model.context_length or text.get("max_position_embeddings"),
        f"{family}.embedding_length": text.get("hidden_size"),
        f"{family}.block_count": text.get("num_hidden_layers"),
        f"{family}.feed_forward_length": text.get("intermediate_size"),
        f"{family}.attention.head_count": text.get("num_attention_heads"),
        f"{family}.attention.head_count_kv": text.get("num_key_value_heads"),
        f"{family}.attention.key_length": text.get("head_dim"),
        f"{family}.attention.layer_norm_rms_epsilon": text.get("rms_norm_eps"),
        f"{family}.rope.freq_base": text.get("rope_theta"),
        f"{family}.vocab_size": text.get("vocab_size"),
        "tokenizer.ggml.eos_token_ids": None if model.facts is None else list(model.facts.stop_token_ids),
    }
    told = {key: value for key, value in named.items() if value not in (None, "")}
    return told if is_verbose else {key: _short(value) for key, value in told.items()}


def _short(value: Any) -> Any:
    return [] if isinstance(value, list) and len(value) > _LONGEST_LIST else value


def _text(model: ListedModel, path: str) -> str:
    return model.artifact.read(path).decode(errors="replace") if model.artifact.file(path) else ""
