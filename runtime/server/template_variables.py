"""Variables that a request gives its model's chat template, and what they say of thinking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

_NO_VARIABLES = frozenset(
    {"messages", "tools", "documents", "chat_template", "add_generation_prompt", "continue_final_message", "self"}
)
_THINKING = ("enable_thinking", "thinking")
"""Variables of templates that turn thinking on and off."""


def _checked(variables: dict[str, Any]) -> dict[str, Any]:
    for name in variables:
        if name in _NO_VARIABLES:
            raise PydanticCustomError("refused", "`{name}` cannot be set here", {"name": name})
    return variables


TemplateVariables = Annotated[dict[str, Any], AfterValidator(_checked)]


def switched_off(variables: Mapping[str, Any] | None) -> bool | None:
    """Off where they turn thinking off, whichever name the model's template has for that; else None."""
    return False if any((variables or {}).get(name) is False for name in _THINKING) else None
