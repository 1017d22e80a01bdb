"""Converts an Ollama Modelfile into a recipe, and reports what cannot be converted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from mlxbuild.registry.core.errors import Location
from mlxbuild.registry.core.suggestions import did_you_mean
from mlxbuild.toolchain.interchange import modelfile
from mlxbuild.toolchain.interchange.draft import RecipeDraft, recipe_text
from mlxbuild.toolchain.interchange.errors import BadModelfile
from mlxbuild.toolchain.interchange.from_gguf import name_of
from mlxbuild.toolchain.interchange.go_template import recognise
from mlxbuild.toolchain.interchange.modelfile import Directive
from mlxbuild.toolchain.sources.gguf.choice import choose
from mlxbuild.toolchain.sources.gguf.header import MAGIC, read_gguf_file_header
from mlxbuild.toolchain.sources.ollama.carried import PARAMETERS
from mlxbuild.toolchain.spec.initial import slug
from mlxbuild.toolchain.spec.ollama_name import InvalidOllamaName, OllamaName
from mlxbuild.toolchain.weights.peft.source import ADAPTER_CONFIGURATION, ADAPTER_WEIGHTS, PEFT_WEIGHTS

_NAME_ONE: Final = "name one of them in FROM"
_WITHOUT_EFFECT: Final = frozenset(
    (
        *("num_gpu", "num_thread", "num_batch", "num_keep", "main_gpu", "use_mmap", "use_mlock", "low_vram", "f16_kv"),
        *("logits_all", "vocab_only", "numa", "mirostat", "mirostat_tau", "mirostat_eta", "tfs_z", "typical_p"),
        "penalize_newline",
    )
)
"""Ollama's parameters, some of them former ones, that mean nothing to MLX."""
_OF_REQUESTS: Final = frozenset(("repeat_last_n", "presence_penalty", "frequency_penalty", "draft_num_predict"))
"""Ollama's parameters that requests can set, but artifacts have no defaults for."""
HUB_NAME: Final = re.compile(r"(?:https://)?(?:hf\.co|huggingface\.co)/([\w.-]+/[\w.-]+)(?::([\w.-]+))?", re.ASCII)


def recipe_from_modelfile(
    data: bytes, path: Path, *, in_store: Callable[[str], bool] = lambda _: False
) -> tuple[str, tuple[str, ...]]:
    """The text of a recipe to be written beside the Modelfile, and what could not be converted.

    Raises:
        BadModelfile: see `draft_from_modelfile`.
    """
    draft = draft_from_modelfile(data, path, in_store=in_store)
    return recipe_text(draft), tuple(draft.notes)


def draft_from_modelfile(
    data: bytes, path: Path, *, in_store: Callable[[str], bool], is_built: bool = False
) -> RecipeDraft:
    """Convert a Modelfile; paths in the draft are relative to the Modelfile's folder.

    Args:
        data: Content of the Modelfile.
        path: Path of the Modelfile: FROM and ADAPTER are relative to it.
        in_store: Whether an artifact of that name is in the store.
        is_built: Whether it is built at once, as `ollama create` does: a wrong parameter is an error then.

    Raises:
        BadModelfile: it is not a valid Modelfile, or its FROM names a file that does not exist.
    """
    directives = modelfile.read(data, str(path))
    draft = RecipeDraft("an Ollama Modelfile", name=slug(path.absolute().parent.name), is_built=is_built)
    writers: dict[str, Callable[[RecipeDraft, Directive], None]] = {
        "FROM": lambda draft, it: _from(draft, it, path, in_store),
        "ADAPTER": lambda draft, it: _adapter(draft, it, path),
        "PARAMETER": lambda draft, it: _parameter(draft, it, path),
        "TEMPLATE": lambda draft, it: None,
        "SYSTEM": lambda draft, it: setattr(draft, "system_prompt", it.value or None),
        "MESSAGE": lambda draft, it: draft.messages.append({"role": it.argument, "content": it.value}),
        "LICENSE": lambda draft, it: draft.set_license(it.value, f"LICENSE, line {it.line}"),
    }
    for directive in directives:
        writers.get(directive.name, _leave)(draft, directive)
    templates = [directive for directive in directives if directive.name == "TEMPLATE" and directive.value]
    if templates:
        _template(draft, templates[-1])
    return draft


def draft_from_weights(path: Path) -> RecipeDraft:
    """A draft for a GGUF file or a model folder that is built at once; paths in it are relative to the path's folder.

    Raises:
        SeveralFiles: a folder holds several GGUF files.
    """
    draft = RecipeDraft("weights", is_built=True)
    beside = path.absolute().parent / "Modelfile"
    if path.is_dir():
        _from_folder(draft, path.absolute(), beside, str(path), "name one of them with -f")
    else:
        _from_file(draft, path.absolute(), beside, str(path))
    return draft


def _leave(draft: RecipeDraft, directive: Directive) -> None:
    reasons = {
        "DRAFT": "there is no speculative decoding with a second model",
        "RENDERER": "prompts are rendered by the artifact's own chat template",
        "PARSER": "think tags and tool calls are found in the chat template when the artifact is built",
        "REQUIRES": "it refers to Ollama's version",
    }
    draft.note(f"{directive.name} {directive.value}, line {directive.line}: left out, {reasons[directive.name]}.")


def _from(draft: RecipeDraft, directive: Directive, path: Path, in_store: Callable[[str], bool]) -> None:
    value = directive.value
    where = f"FROM {value}, line {directive.line}"
    local = path.absolute().parent / Path(value).expanduser()
    if local.is_dir():
        _from_folder(draft, local, path, where)
    elif local.is_file() and local.suffix == ".safetensors":
        draft.base = {"path": _written(local.parent, path)}
    elif local.is_file():
        _from_file(draft, local, path, where)
    elif (match := HUB_NAME.fullmatch(value)) is not None:
        _from_hub(draft, match[1], match[2], where)
    elif value.startswith(("/", "~", "./", "../")) or value.endswith((".gguf", ".bin")):
        raise BadModelfile(
            f"there is no `{value}`",
            where=Location(str(path), directive.line, 1),
            hint="FROM names a file or folder relative to the Modelfile, a model of Ollama's registry, or an artifact",
        )
    elif in_store(value):
        draft.base = {"from": value}
        draft.name = slug("my-" + slug(value.partition(":")[0]))  # an artifact cannot be built from itself
    else:
        _from_ollama(draft, value, where)


def _from_folder(draft: RecipeDraft, folder: Path, path: Path, where: str, hint: str = _NAME_ONE) -> None:
    if folder.resolve() != path.absolute().parent.resolve():
        draft.name = slug(folder.name)
    names = [each.name for each in folder.iterdir()]
    if not any(name.endswith(".safetensors") for name in names) and (model := choose(names, where, hint)):
        draft.base = {"gguf": _written(folder / model, path)}
        return
    draft.base = {"path": _written(folder, path)}
    if not any(name.endswith(".safetensors") for name in names):
        draft.note(f"{where}: the folder holds neither safetensors nor GGUF files, and other weights are not taken.")


def _from_file(draft: RecipeDraft, file: Path, path: Path, where: str) -> None:
    """Use the file that FROM names if it is a GGUF file with a language model, judged by its content."""
    with file.open("rb") as stream:
        is_gguf = stream.read(len(MAGIC)) == MAGIC
    if not is_gguf:
        draft.note(f"{where}: pickled weights cannot be built from; name the safetensors they were made of.")
    elif file.suffix != ".gguf":
        rest = "" if draft.is_built else ", and write it as base: {gguf: ...}"
        draft.note(f"{where}: this is a GGUF file; give it the ending .gguf{rest}.")
    elif (kind := _gguf_kind(file)) != "model":
        draft.note(f"{where}: left out, as the file holds a part of another kind ({kind}), not a language model.")
    else:
        draft.base = {"gguf": _written(file, path)}
        draft.name = name_of(file.name)


def _gguf_kind(file: Path) -> str:
    metadata = read_gguf_file_header(file).metadata
    clip = metadata.get("general.architecture") == "clip"
    return "mmproj" if clip else str(metadata.get("general.type", "model"))[:40]


def _from_hub(draft: RecipeDraft, repository: str, precision: str | None, where: str) -> None:
    draft.name = slug(repository)
    if repository.lower().endswith("gguf"):
        base = (
            " with --file, and writes a recipe" if draft.is_built else f": base: {{hf_repo: {repository}, file: ...}}"
        )
        draft.note(f"{where}: name the GGUF file{base}. `mlxbuild init {repository}` lists them.")
        return
    draft.base = {"hf_repo": repository}
    _quantize(draft, precision, where)


def _from_ollama(draft: RecipeDraft, value: str, where: str) -> None:
    """Use a model of Ollama's registry, which is contacted when the recipe is locked."""
    try:
        name = OllamaName.parse(value)
    except InvalidOllamaName as error:
        draft.note(f"{where}: {error.message}; write where the weights come from as base.")
        return
    draft.base = {"ollama": str(name)}
    draft.name = slug(f"my-{name.model}")


def _quantize(draft: RecipeDraft, precision: str | None, where: str) -> None:
    if precision is None:
        return
    label = precision.lower()
    bits = re.match(r"i?q(\d)", label)
    wanted = {"fp16": "fp16", "f16": "fp16", "bf16": "bf16"}.get(label) or (
        "int8" if bits and bits[1] > "5" else "int4"
    )
    draft.quantization = wanted
    if bits:
        draft.note(f"{where}: {precision} has no equal here; {wanted} is the nearest.")


def _adapter(draft: RecipeDraft, directive: Directive, path: Path) -> None:
    where = f"ADAPTER {directive.value}, line {directive.line}"
    local = path.absolute().parent / Path(directive.value).expanduser()
    if directive.value.endswith((".gguf", ".bin")):
        draft.note(f"{where}: left out, as only adapters in safetensors can be merged: those that it was made of.")
        return
    folder = local.parent if directive.value.endswith(".safetensors") else local
    draft.adapters = [{"path": _written(folder, path)}]
    if not any((folder / name).is_file() for name in (ADAPTER_WEIGHTS, PEFT_WEIGHTS)):
        draft.note(
            f"{where}: adapters are read as mlx-lm ({ADAPTER_WEIGHTS}) or PEFT ({PEFT_WEIGHTS}) writes them, beside "
            f"{ADAPTER_CONFIGURATION}."
        )


def _written(folder: Path, modelfile_path: Path) -> str:
    return os.path.relpath(folder, modelfile_path.absolute().parent).replace(os.sep, "/")


def _parameter(draft: RecipeDraft, directive: Directive, path: Path) -> None:
    key, text = directive.argument.lower(), directive.value
    where = f"PARAMETER {key} {text}, line {directive.line}"
    if key == "stop":
        stops = draft.defaults.setdefault("stops", [])
        if text not in stops:
            stops.append(text)
        return
    place = Location(str(path), directive.line)
    if draft.is_built and key in _WITHOUT_EFFECT:
        draft.note(f"`{key}` has no effect here, line {directive.line}.")
        return
    if draft.is_built and key in _OF_REQUESTS:
        draft.note(f"`{key}` is left out, line {directive.line}: only requests can set it.")
        return
    if key not in PARAMETERS:
        if draft.is_built:
            hint = did_you_mean(key, (*PARAMETERS, "stop")) or f"parameters are {', '.join(PARAMETERS)} and stop"
            raise BadModelfile(f"there is no parameter `{key}`", where=place, hint=hint)
        draft.note(f"{where}: a recipe has no such parameter.")
        return
    ours, form = PARAMETERS[key]
    wanted = "whole number" if form is int else "number"
    try:
        value: Any = form(text)
    except ValueError:
        if draft.is_built:
            raise BadModelfile(f"`{text}` is not a {wanted}", where=place, hint=f"`{key}` takes one") from None
        draft.note(f"{where}: the value is not a {wanted}.")
        return
    if key == "num_predict" and value < 0:
        return  # unlimited, as by default
    draft.set_default(ours, value, where)
    if draft.is_built and ours not in draft.defaults:
        raise BadModelfile(f"`{key}` cannot be {text}", where=place, hint="it is out of range")


def _template(draft: RecipeDraft, directive: Directive) -> None:
    found = recognise(directive.value)
    where = f"TEMPLATE, line {directive.line}"
    if found.named is not None:
        draft.template = found.named
        if found.beyond:
            own = "a Modelfile without TEMPLATE" if draft.is_built else "`prompt_template: inherit`"
            draft.note(
                f"{where}: taken as the named template {found.named}, without its {', '.join(found.beyond)}; "
                f"{own} may carry them, if the base has a template of its own."
            )
        return
    like = f", though it resembles {found.resembles}" if found.resembles else ""
    kept = (
        ""
        if draft.is_built
        else "; the text is kept below, to be written anew in Jinja: prompt_template: {file: chat.jinja}"
    )
    draft.note(
        f"{where}: a Go template cannot be carried, and this is none of the common ones{like}. The base's own template "
        f"is {'used' if draft.is_built else 'inherited'}{kept}."
    )
    draft.kept.append(("The TEMPLATE of the Modelfile, in Go's language:", directive.value))
