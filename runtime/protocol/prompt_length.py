"""The message that a prompt is too long, and the numbers in it, which each API puts into its own words."""

from __future__ import annotations

import re

_TOLD = re.compile(r"input length \((\d+) tokens\) exceeds the model's maximum context length \((\d+) tokens\)")


def too_long(prompt_tokens: int, context_tokens: int) -> str:
    """The message in Ollama's words; it is sent between processes as text."""
    return f"input length ({prompt_tokens} tokens) exceeds the model's maximum context length ({context_tokens} tokens)"


def told_lengths(message: str) -> tuple[int, int] | None:
    """The tokens of the prompt and of the context in such a message; None for any other message."""
    found = _TOLD.fullmatch(message)
    return None if found is None else (int(found[1]), int(found[2]))
