"""A draft of a recipe from another tool's file, with notes on everything that could not be converted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from mlxbuild.toolchain.spec.resolved import SCHEMA
from mlxbuild.toolchain.spec.written.chat import DefaultsForm
from mlxbuild.toolchain.spec.written.recipe import License

_UNPRINTABLE = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u2028\u2029]")


@dataclass(slots=True)
class RecipeDraft:
    """The parts of the recipe found so far."""

    origin: str
    """What it was converted from, such as `an Ollama Modelfile`."""
    name: str = "my-model"
    version: str = "1.0"
    description: str | None = None
    license: str | dict[str, Any] | None = None
    license_texts: list[str] = field(default_factory=list)
    """Texts to be saved as files, if it is built at once."""
    base: dict[str, Any] | None = None
    quantization: str | None = None
    template: str | None = None
    """The name of one of mlxbuild's chat templates."""
    system_prompt: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    adapters: list[dict[str, Any]] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    kept: list[tuple[str, str]] = field(default_factory=list)
    """(heading, text) of parts that become comments in the recipe."""
    notes: list[str] = field(default_factory=list)
    """What could not be converted or needs attention; one sentence each."""
    is_built: bool = False
    """Whether it is built at once and read by nobody, so that notes speak of the file it was converted from."""

    def note(self, text: str) -> None:
        """Add a note, unless it is there already."""
        if text not in self.notes:
            self.notes.append(text)

    def set_default(self, key: str, value: Any, where: str) -> None:
        """Set a sampling default, or add a note if it is out of range."""
        try:
            DefaultsForm.model_validate({key: value})
        except ValidationError:
            self.note(f"{where}: {value!r} is not a value for defaults.{key}; it was left out.")
        else:
            self.defaults[key] = value

    def set_license(self, text: str, where: str) -> None:
        """Set the license to an SPDX expression, or to that of a common license that the text begins like."""
        if self.is_built:
            self.license_texts.append(text)
            return
        if (expression := spdx(text)) is not None:
            self.license = expression
        if expression != text.strip():
            known = f"it reads as {expression}; " if expression else ""
            self.note(
                f"{where}: {known}save the text as a file beside the recipe and name it: "
                f"license: {{expression: {expression or 'LicenseRef-…'}, files: [LICENSE]}}."
            )


_HEADINGS = {
    "Apache License": "Apache-2.0",
    "MIT License": "MIT",
    "LLAMA 3.2 COMMUNITY LICENSE": "LicenseRef-llama3.2",
    "LLAMA 3.1 COMMUNITY LICENSE": "LicenseRef-llama3.1",
    "Gemma Terms of Use": "LicenseRef-gemma",
}


def spdx(text: str) -> str | None:
    """The text if it is an SPDX expression, else the expression of a license that begins like it, or None."""
    short = text.strip()
    try:
        TypeAdapter(License).validate_python(short)
    except ValidationError:
        beginning = short[:400].casefold()
        return next((name for heading, name in _HEADINGS.items() if heading.casefold() in beginning), None)
    return short


def recipe_text(draft: RecipeDraft) -> str:
    """The text of the recipe. It passes `lint` if it has a base; without one, a comment says what to write."""
    return "\n".join(_lines(draft)) + "\n"


def _lines(draft: RecipeDraft) -> Iterator[str]:
    yield f"# A recipe from {draft.origin}. Check it with `mlxbuild lint`, build it with `mlxbuild create`."
    for note in draft.notes:
        yield from _comment(note, "# ! ")
    yield _yaml({"schema": SCHEMA, "name": draft.name, "version": draft.version})
    if draft.description:
        yield _yaml({"description": draft.description})
    if draft.license:
        yield _yaml({"license": draft.license})
    yield ""
    if draft.base is not None:
        yield _yaml({"base": draft.base})
    else:
        yield "# base: {hf_repo: organisation/name}  # write where the safetensors come from"
    if draft.quantization is not None:
        yield _yaml({"quantization": draft.quantization})
    if draft.adapters:
        yield _yaml({"adapters": draft.adapters})
    yield ""
    yield _yaml({"prompt_template": {"named": draft.template} if draft.template else "inherit"})
    chat = {"system_prompt": draft.system_prompt, "messages": draft.messages, "defaults": draft.defaults}
    for key, value in chat.items():
        if value:
            yield _yaml({key: value})
    for heading, text in draft.kept:
        yield ""
        yield f"# {heading}"
        yield from _comment(text, "#   ")


def _comment(text: str, start: str) -> Iterator[str]:
    for line in _UNPRINTABLE.sub("�", text.strip("\n")).split("\n"):
        yield f"{start}{line}".rstrip()


class _Dumper(yaml.SafeDumper):
    """Writes multi-line strings as literal blocks."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    escaped = _UNPRINTABLE.search(text) or "\x85" in text  # YAML treats it as a line break, other tools do not
    style = '"' if escaped else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _yaml(value: dict[str, Any]) -> str:
    dumped: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return dumped.rstrip("\n")
