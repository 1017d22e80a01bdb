"""Reads the arguments of calls that a model made earlier, as clients send them back through any of the APIs."""

from __future__ import annotations

from typing import Any

from mlxbuild.runtime.server.bodies import parse_json


def parsed_arguments(text: str) -> dict[str, Any] | str:
    """The object; or the text where it is none, as a model may have written that: templates are told it as it was."""
    try:
        arguments = parse_json(text or "{}")
    except (ValueError, RecursionError):
        return text
    return arguments if isinstance(arguments, dict) else text
