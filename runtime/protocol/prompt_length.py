"""How it is told that a prompt is too long. APIs say it in words of their own, and read the numbers here."""

from __future__ import annotations

import re

_TOLD = re.compile(r"input length \((\d+) tokens\) exceeds the model's maximum context length \((\d+) tokens\)")


def too_long(prompt_tokens: int, context_tokens: int) -> str:
    """The message, in Ollama's words; it crosses processes as text."""
    return f"input length ({prompt_tokens} tokens) exceeds the model's maximum context length ({context_tokens} tokens)"


def told_lengths(message: str) -> tuple[int, int] | None:
    """The tokens of the prompt and of the context in such a message; None of another one."""
    found = _TOLD.fullmatch(message)
    return None if found is None else (int(found[1]), int(found[2]))
