"""Recognises the named chat template that an Ollama TEMPLATE corresponds to; Go templates are never translated."""

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
"""Template name to the markers that it must contain, and the other words that it may contain."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """The result of recognising a Go template."""

    named: str | None
    """The named template, if the Go template has no text beyond it."""
    resembles: str | None
    """The named template whose markers it has, if it has other text, too."""
    beyond: tuple[str, ...]
    """Features of the template that would be lost: tools, thinking, ..."""


def recognise(template: str) -> Recognition:
    """Compare the literal text of a Go template with that of the known templates."""
    actions = " ".join(_ACTION.findall(template))
    beyond = tuple(what for variable, what in _BEYOND.items() if re.search(rf"{re.escape(variable)}\b", actions))
    words = _ACTION.sub(" ", template)
    for name, (marks, others) in _FAMILIES.items():
        # A role may appear in an action: {{ if eq .Role "user" }}; markers must appear in the text.
        if all(mark in words for mark in marks):
            rest = words
            for word in (*marks, *others):
                rest = rest.replace(word, " ")
            return Recognition(None, name, beyond) if rest.strip() else Recognition(name, name, beyond)
    return Recognition(None, None, beyond)
