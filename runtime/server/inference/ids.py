"""Creates unique ids of responses and tool calls."""

from __future__ import annotations

import secrets
import string

_LETTERS = string.ascii_lowercase + string.digits


def new_id(prefix: str) -> str:
    """An id in OpenAI's and Anthropic's format: a prefix, and 24 hexadecimal digits."""
    return f"{prefix}{secrets.token_hex(12)}"


def call_id() -> str:
    """The id of a tool call, in Ollama's format."""
    return "call_" + "".join(secrets.choice(_LETTERS) for _ in range(8))
