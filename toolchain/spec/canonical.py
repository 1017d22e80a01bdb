"""The canonical JSON form of a resolved spec, without machine paths, which artifacts store as their recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.toolchain.spec.ollama_name import OllamaName
from mlxbuild.toolchain.spec.recipe_folder import absolute, gguf_source
from mlxbuild.toolchain.spec.resolved import (
    SCHEMA,
    Adapter,
    ArtifactSource,
    ContentSource,
    FolderSource,
    Gate,
    HubSource,
    OllamaSource,
    PromptTemplate,
    Quantization,
    QuantizationScheme,
    ResolvedSpec,
    Source,
)


class BrokenSpec(UserError):
    """A document is not the canonical form of a spec."""

    code = "broken-spec"


def canonical(spec: ResolvedSpec) -> dict[str, Any]:
    """The canonical form; use `registry.core.canonical_json` to encode it for digests."""
    return {
        "schema": SCHEMA,
        "name": spec.name,
        "version": spec.version,
        "variant": spec.variant,
        "description": spec.description,
        "license": spec.license,
        "license_files": [list(file) for file in spec.license_files],
        "base": source_document(spec.base),
        "dtype": spec.dtype,
        "quantization": _quantization(spec.quantization),
        "tokenizer": None if spec.tokenizer is None else source_document(spec.tokenizer),
        "adapters": [{"source": source_document(it.source), "scale": it.scale} for it in spec.adapters],
        "prompt_template": {"kind": spec.prompt_template.kind, "value": spec.prompt_template.value},
        "system_prompt": spec.system_prompt,
        "defaults": dict(spec.defaults),
        "messages": [dict(message) for message in spec.messages],
        "gates": [{"kind": it.kind, "name": it.name, "parameters": dict(it.parameters)} for it in spec.gates],
        "annotations": dict(spec.annotations),
        **({} if spec.pooling is None else {"pooling": spec.pooling}),
        **({} if spec.kept_variant is None else {"kept_variant": spec.kept_variant}),
    }


def from_canonical(document: Mapping[str, Any], recipe: Path) -> ResolvedSpec:
    """The spec in a canonical form; folders are resolved relative to `recipe`, which need not exist.

    Raises:
        BrokenSpec: the document is not a canonical form.
    """
    try:
        if document["schema"] != SCHEMA:
            raise BrokenSpec(
                f"the recipe in the artifact has the form `{document['schema']}`",
                hint=f"this mlxbuild reads {SCHEMA}; update it",
            )
        return _spec(document, Path(recipe).absolute())
    except (KeyError, TypeError, ValueError, AttributeError, InvalidDigest) as error:
        raise BrokenSpec(
            f"the recipe in the artifact is damaged: {type(error).__name__}: {error}",
            hint="build the artifact again",
        ) from None


def source_document(source: Source) -> dict[str, Any]:
    """A source as plain JSON data, as written in the recipe."""
    match source:
        case HubSource(repository, revision, include, None):
            return {"hf_repo": repository, "revision": revision, "include": list(include)}
        case HubSource(repository, revision, gguf=gguf):
            return {"hf_repo": repository, "revision": revision, "file": gguf}
        case FolderSource(written=written, gguf=None):
            return {"path": written}
        case FolderSource(written=written, gguf=gguf):
            return {"gguf": str(PurePosixPath(written, str(gguf)))}
        case ContentSource(content, gguf):
            return {"content": str(content), **({} if gguf is None else {"gguf": gguf})}
        case ArtifactSource(reference):
            return {"from": str(reference)}
        case OllamaSource(name):
            return {"ollama": str(name)}


def _source(document: Mapping[str, Any], recipe: Path) -> Source:
    if "file" in document:
        return HubSource(document["hf_repo"], document["revision"], gguf=document["file"])
    if "hf_repo" in document:
        return HubSource(document["hf_repo"], document["revision"], tuple(document["include"]))
    if "content" in document:
        return ContentSource(Digest.parse(document["content"]), document.get("gguf"))
    if "gguf" in document:
        return gguf_source(recipe.parent, document["gguf"])
    if "ollama" in document:
        return OllamaSource(OllamaName.parse(document["ollama"]))
    if "path" in document:
        return FolderSource(absolute(recipe.parent, document["path"]), document["path"])
    return ArtifactSource(Reference.parse(document["from"]))


def _quantization(quantization: Quantization) -> dict[str, Any]:
    return {
        "label": quantization.label,
        "scheme": _scheme(quantization.scheme),
        "recipe": quantization.recipe,
        "overrides": [[glob, _scheme(scheme)] for glob, scheme in quantization.overrides],
    }


def _scheme(scheme: QuantizationScheme | None) -> dict[str, Any] | None:
    if scheme is None:
        return None
    return {"mode": scheme.mode, "bits": scheme.bits, "group_size": scheme.group_size}


def _spec(document: Mapping[str, Any], recipe: Path) -> ResolvedSpec:
    written = document["quantization"]
    quantization = Quantization(
        written["label"],
        _read_scheme(written["scheme"]),
        written["recipe"],
        tuple((glob, _read_scheme(scheme)) for glob, scheme in written["overrides"]),
    )
    tokenizer = document["tokenizer"]
    for key in ("name", "version", "variant", "description"):
        if not isinstance(document[key], str):
            raise TypeError(f"`{key}` is not a text")
    return ResolvedSpec(
        recipe=recipe,
        name=document["name"],
        version=document["version"],
        variant=document["variant"],
        description=document["description"],
        license=document["license"],
        base=_source(document["base"], recipe),
        dtype=document["dtype"],
        quantization=quantization,
        tokenizer=None if tokenizer is None else _source(tokenizer, recipe),
        adapters=tuple(Adapter(_source(it["source"], recipe), it["scale"]) for it in document["adapters"]),
        prompt_template=PromptTemplate(**document["prompt_template"]),
        system_prompt=document["system_prompt"],
        defaults=dict(document["defaults"]),
        messages=tuple(dict(message) for message in document["messages"]),
        gates=tuple(Gate(it["kind"], it["name"], dict(it["parameters"])) for it in document["gates"]),
        annotations=dict(document["annotations"]),
        license_files=tuple((name, text) for name, text in document["license_files"]),
        pooling=document.get("pooling"),
        kept_variant=document.get("kept_variant"),
    )


def _read_scheme(document: Mapping[str, Any] | None) -> QuantizationScheme | None:
    return None if document is None else QuantizationScheme(**document)
