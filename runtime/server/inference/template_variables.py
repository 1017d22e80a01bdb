"""The chat template variables of a request, and their effect on thinking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

_NO_VARIABLES = frozenset(
    {"messages", "tools", "documents", "chat_template", "add_generation_prompt", "continue_final_message", "self"}
)
_THINKING = ("enable_thinking", "thinking")
"""Template variables that turn thinking on and off."""


def _checked(variables: dict[str, Any]) -> dict[str, Any]:
    for name in variables:
        if name in _NO_VARIABLES:
            raise PydanticCustomError("refused", "`{name}` cannot be set here", {"name": name})
    return variables


TemplateVariables = Annotated[dict[str, Any], AfterValidator(_checked)]


def switched_off(variables: Mapping[str, Any] | None) -> bool | None:
    """False if a variable turns thinking off, by any of the names that templates use; else None."""
    return False if any((variables or {}).get(name) is False for name in _THINKING) else None
