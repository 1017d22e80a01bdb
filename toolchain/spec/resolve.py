"""Resolves a validated recipe: fills in defaults and inlines the texts that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from mlxbuild.registry.core.errors import Location
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.core.sizes import size_bytes
from mlxbuild.toolchain.spec.ollama_name import OllamaName
from mlxbuild.toolchain.spec.recipe_folder import RecipeFolder, absolute, gguf_source
from mlxbuild.toolchain.spec.resolved import (
    KEEP,
    Adapter,
    ArtifactSource,
    FolderSource,
    Gate,
    HubSource,
    OllamaSource,
    PromptTemplate,
    Quantization,
    QuantizationScheme,
    ResolvedSpec,
    Source,
    is_gguf,
)
from mlxbuild.toolchain.spec.written.chat import FileForm, InlineForm, NamedTemplateForm
from mlxbuild.toolchain.spec.written.gates import (
    AnyGate,
    CompleteGate,
    ContentsGate,
    PerplexityGate,
    SizeGate,
    TemplateGate,
    TokensGate,
)
from mlxbuild.toolchain.spec.written.quantization import DEFAULT_BITS, DEFAULT_GROUP_SIZE, QuantizationForm, SchemeForm
from mlxbuild.toolchain.spec.written.recipe import LicenseForm, ModelSpec
from mlxbuild.toolchain.spec.written.sources import (
    ArtifactForm,
    BaseFolderForm,
    FolderForm,
    GgufForm,
    HubBaseForm,
    HubForm,
    OllamaForm,
)

NAMED_SCHEMES = {
    "int4": QuantizationScheme("affine", 4, 64),
    "int8": QuantizationScheme("affine", 8, 64),
    "mxfp4": QuantizationScheme("mxfp4", 4, 32),
    "mxfp8": QuantizationScheme("mxfp8", 8, 32),
    "nvfp4": QuantizationScheme("nvfp4", 4, 16),
}
_LABELS = {scheme: name for name, scheme in NAMED_SCHEMES.items()}
_CASTS = {"fp16": "float16", "bf16": "bfloat16"}
DEFAULT_MAX_TOKENS = 128


def resolve(
    form: ModelSpec, recipe: Path, folder: RecipeFolder, origins: Mapping[str, Location] | None
) -> ResolvedSpec:
    """The spec of one point in the matrix; its `variant` is the quantization's label until the matrix names it.

    `form` was validated with `folder` as its context, so every named file is there.
    """
    base = _source(form.base, recipe)
    quantization = quantization_of(form.quantization or (KEEP if is_gguf(base) else None))
    dtype: Any = _CASTS.get(quantization.label, form.dtype)
    system = form.system_prompt
    license_files: tuple[tuple[str, str], ...] = ()
    license_expression = form.license
    if isinstance(license_expression, LicenseForm):
        license_files = tuple((PurePosixPath(f).name, folder.text(f)) for f in license_expression.files or ())
        license_expression = license_expression.expression
    return ResolvedSpec(
        recipe=recipe,
        name=form.name,
        version=form.version,
        variant=quantization.label,
        description=form.description or "",
        license=license_expression,
        base=base,
        dtype=dtype,
        quantization=quantization,
        tokenizer=None if form.tokenizer in (None, "inherit") else _source(form.tokenizer, recipe),
        adapters=tuple(
            Adapter(_source(adapter, recipe), 1.0 if adapter.scale is None else float(adapter.scale))
            for adapter in form.adapters or ()
        ),
        prompt_template=_template(form.prompt_template, folder),
        system_prompt=folder.text(system.file) if isinstance(system, FileForm) else system,
        defaults={key: _plain(value) for key, value in form.defaults or () if value is not None},
        messages=tuple({"role": message.role, "content": message.content} for message in form.messages or ()),
        gates=_gates(form.tests or (), folder),
        annotations=dict(sorted((form.annotations or {}).items())),
        license_files=license_files,
        pooling=form.pooling,
        kept_variant=KEEP if form.quantization is None and not is_gguf(base) else None,
        origins=origins,
    )


def quantization_of(written: str | QuantizationForm | None) -> Quantization:
    """The quantization for a recipe's value."""
    if written is None or isinstance(written, str):
        return Quantization(written or "none", NAMED_SCHEMES.get(written or "none"))
    scheme = _scheme(written)
    if written.recipe is not None:
        scheme = replace(scheme, bits=int(written.recipe.split("_")[1]))
        label = written.recipe if scheme.group_size == 64 else f"{written.recipe}-g{scheme.group_size}"
    else:
        label = _LABELS.get(scheme) or f"{scheme.mode}-{scheme.bits}bit-g{scheme.group_size}"
    overrides = tuple(
        (glob, NAMED_SCHEMES.get(value) if isinstance(value, str) else _scheme(value))
        for glob, value in (written.overrides or {}).items()
    )
    if overrides:
        label = f"{label}-custom"
    return Quantization(written.label or label, scheme, written.recipe, overrides)


def _scheme(form: SchemeForm) -> QuantizationScheme:
    mode = form.mode or "affine"
    return QuantizationScheme(mode, form.bits or DEFAULT_BITS[mode], form.group_size or DEFAULT_GROUP_SIZE[mode])


def _source(form: Any, recipe: Path) -> Source:
    if isinstance(form, HubBaseForm) and form.file is not None:
        return HubSource(form.hf_repo, form.revision or "main", gguf=form.file)
    if isinstance(form, HubForm):
        return HubSource(form.hf_repo, form.revision or "main", tuple(form.include or ()))
    if isinstance(form, ArtifactForm):
        return ArtifactSource(Reference.parse(form.from_))
    if isinstance(form, OllamaForm):
        return OllamaSource(OllamaName.parse(form.ollama))
    if isinstance(form, GgufForm):
        return gguf_source(recipe.parent, form.gguf)
    assert isinstance(form, FolderForm | BaseFolderForm)
    return FolderSource(absolute(recipe.parent, form.path), form.path)


def _template(form: Any, folder: RecipeFolder) -> PromptTemplate:
    match form:
        case NamedTemplateForm():
            return PromptTemplate("named", form.named)
        case FileForm():
            return PromptTemplate("text", folder.text(form.file))
        case InlineForm():
            return PromptTemplate("text", form.inline)
        case _:
            return PromptTemplate("inherit")


def _gates(forms: tuple[AnyGate, ...], folder: RecipeFolder) -> tuple[Gate, ...]:
    """All gates with unique names: as written, or the kind of gate, numbered from the second on."""
    taken = {form.name for form in forms if form.name is not None}
    gates = []
    for form in forms:
        kind, parameters = _gate(form, folder)
        name, number = form.name, 1
        while name is None or (form.name is None and name in taken):
            name = kind if number == 1 else f"{kind}-{number}"
            number += 1
        taken.add(name)
        gates.append(Gate(kind, name, parameters))
    return tuple(gates)


def _gate(form: AnyGate, folder: RecipeFolder) -> tuple[Any, dict[str, Any]]:
    match form:
        case ContentsGate(contents=contents):
            return "contents", {
                "require": list(contents.require or ()),
                "forbid": list(contents.forbid or ()),
                "strict": bool(contents.strict),
            }
        case TemplateGate(template=template):
            golden = template.golden
            text = golden.inline if isinstance(golden, InlineForm) else folder.text(golden)
            return "template", {**_set(template, "messages", "tools"), "golden": text}
        case TokensGate(tokens=tokens):
            return "tokens", {"text": tokens.text, "ids": list(tokens.ids)}
        case CompleteGate(complete=complete):
            defaults = {"max_tokens": DEFAULT_MAX_TOKENS, "temperature": 0.0}
            return "complete", defaults | complete.model_dump(mode="json", exclude_none=True)
        case PerplexityGate(perplexity=perplexity):
            parameters: dict[str, Any] = {"text": folder.text(perplexity.dataset)}
            if perplexity.max is not None:
                parameters["max"] = float(perplexity.max)
            if perplexity.max_increase_vs_base is not None:
                percent = perplexity.max_increase_vs_base.rstrip("% ")
                parameters["max_increase_vs_base"] = float(percent) / 100
            return "perplexity", parameters
        case SizeGate(size=size):
            return "size", {"max_bytes": _bytes(size.max)}
    raise AssertionError(form)


def _set(form: Any, *keys: str) -> dict[str, Any]:
    dumped: dict[str, Any] = form.model_dump(mode="json", include=set(keys), exclude_none=True)
    return dumped


def _bytes(written: str) -> int:
    found = size_bytes(written)
    assert found is not None
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
