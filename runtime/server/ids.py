"""Ids of answers and of tool calls, which nobody else has."""

from __future__ import annotations

import secrets
import string

_LETTERS = string.ascii_lowercase + string.digits


def new_id(prefix: str) -> str:
    """An id in the form of OpenAI's and Anthropic's: a prefix, and 24 hexadecimal digits."""
    return f"{prefix}{secrets.token_hex(12)}"


def call_id() -> str:
    """The id of a tool call, in Ollama's form."""
    return "call_" + "".join(secrets.choice(_LETTERS) for _ in range(8))
