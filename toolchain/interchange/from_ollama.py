"""Creates a recipe based on a model of Ollama's registry, and reports what cannot be converted."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mlxbuild.registry.core.digest import Blob
from mlxbuild.runtime.model.files import DEFAULTS_FILE, TEMPLATE_FILE
from mlxbuild.toolchain.interchange.draft import RecipeDraft, recipe_text, spdx
from mlxbuild.toolchain.interchange.go_template import recognise
from mlxbuild.toolchain.sources.ollama.carried import lost
from mlxbuild.toolchain.sources.ollama.manifest import LICENSE_FILE, MODEL_FILE, PARAMETERS_FILE, OllamaManifest
from mlxbuild.toolchain.sources.ollama.model import read_model
from mlxbuild.toolchain.sources.ollama.registry import OllamaRegistry
from mlxbuild.toolchain.spec.initial import slug
from mlxbuild.toolchain.spec.ollama_name import OllamaName


def recipe_from_ollama(name: OllamaName, registry: OllamaRegistry) -> tuple[str, tuple[str, ...]]:
    """The text of a recipe, and what could not be converted.

    The model's own sampling defaults apply unless the recipe overrides them; a comment lists them.

    Raises:
        ManifestUnknown, RepositoryUnknown, RegistryFailure: the registry does not return it.
        MlxbuildError: as `read_model`.
    """
    manifest = registry.manifest(name)
    files = manifest.files()
    documents = read_model(registry, name, files, tokenizer=MODEL_FILE in files).documents
    draft = RecipeDraft(f"{name} of Ollama's registry", name=slug(name.model), base={"ollama": str(name)})
    draft.description = f"{json.loads(documents['config.json']).get('model_type', 'A model')} from {name}"
    _license(draft, name, registry, files)
    for what in manifest.dropped:
        draft.note(f"left out: {what}.")
    if PARAMETERS_FILE in files:
        for parameter in lost(registry.read(name, files[PARAMETERS_FILE]), str(name)):
            draft.note(f"left out: the parameter {parameter}, which recipes do not have.")
    if TEMPLATE_FILE not in documents and not _has_template(files):
        _template(draft, name, registry, manifest)
    if (defaults := documents.get(DEFAULTS_FILE)) is not None:
        _show_defaults(draft, json.loads(defaults))
    return recipe_text(draft), tuple(draft.notes)


def _license(draft: RecipeDraft, name: OllamaName, registry: OllamaRegistry, files: Mapping[str, Blob]) -> None:
    if LICENSE_FILE in files:
        draft.license = spdx(registry.read(name, files[LICENSE_FILE]).decode(errors="replace"))


def _has_template(files: Mapping[str, Blob]) -> bool:
    """Whether a model in safetensors may have a chat template in a file of its own."""
    return MODEL_FILE not in files and any(path in files for path in (TEMPLATE_FILE, "tokenizer_config.json"))


def _template(draft: RecipeDraft, name: OllamaName, registry: OllamaRegistry, manifest: OllamaManifest) -> None:
    """Use a named template if the model's Go template is a known one, since the model has no Jinja template."""
    layer = manifest.layer("template", "prompt")
    text = "" if layer is None else registry.read(name, layer.blob).decode(errors="replace")
    draft.template = recognise(text).named
    if draft.template is None:
        draft.note("the model has no template in Jinja; name one, or write it: prompt_template: {file: chat.jinja}.")
        if text:
            draft.kept.append(("Its template in Go's language:", text))


def _show_defaults(draft: RecipeDraft, defaults: Mapping[str, object]) -> None:
    shown = {"system_prompt": defaults.get("system_prompt"), "messages": defaults.get("messages")}
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in shown.items() if value]
    if parameters := defaults.get("parameters"):
        lines.append(f"defaults: {json.dumps(parameters, ensure_ascii=False)}")
    draft.kept.append(("The model sets these, unless the recipe sets them otherwise:", "\n".join(lines)))
