"""Parses the arguments of earlier tool calls, which clients send back through any of the APIs."""

from __future__ import annotations

from typing import Any

from mlxbuild.runtime.server.bodies.json_body import parse_json


def parsed_arguments(text: str) -> dict[str, Any] | str:
    """The arguments as an object; the text itself if it is not one, as a model may have written it that way."""
    try:
        arguments = parse_json(text or "{}")
    except (ValueError, RecursionError):
        return text
    return arguments if isinstance(arguments, dict) else text
