"""Which named chat template an Ollama TEMPLATE stands for. Go templates are not Jinja, and are never translated."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ACTION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_BEYOND: Final = {".Tools": "tools", ".ToolCalls": "tool calls", ".Think": "thinking", ".Suffix": "fill-in-the-middle"}

_FAMILIES: Final = {
    "chatml": (("<|im_start|>", "<|im_end|>"), ("system", "user", "assistant", "<|endoftext|>")),
    "llama3": (
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ("system", "user", "assistant", "<|begin_of_text|>"),
    ),
    "gemma": (("<start_of_turn>", "<end_of_turn>"), ("user", "model", "<bos>")),
    "mistral": (("[INST]", "[/INST]"), ("<s>", "</s>")),
}
"""Name of the template to the marks that it must have, and the words that it may have."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a Go template is."""

    named: str | None
    """The named template, if the text says nothing that this one does not say."""
    resembles: str | None
    """The named template whose marks it has, with words of its own."""
    beyond: tuple[str, ...]
    """What it renders that is lost: tools, thinking, ..."""


def recognise(template: str) -> Recognition:
    """Compare the fixed words of a template with those of the common ones."""
    actions = " ".join(_ACTION.findall(template))
    beyond = tuple(what for variable, what in _BEYOND.items() if re.search(rf"{re.escape(variable)}\b", actions))
    words = _ACTION.sub(" ", template)
    for name, (marks, others) in _FAMILIES.items():
        # A role may stand in an action: {{ if eq .Role "user" }}; marks must stand in the text.
        if all(mark in words for mark in marks):
            rest = words
            for word in (*marks, *others):
                rest = rest.replace(word, " ")
            return Recognition(None, name, beyond) if rest.strip() else Recognition(name, name, beyond)
    return Recognition(None, None, beyond)
