"""Parses tool calls with mlx-lm's parser for the model's format. Their position is found by `answer_parser`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.runtime.protocol.events import ToolCall

_JSON_ARGUMENTS = ("json_tools", "kimi_k2")
_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')


def parse_tool_calls(parser: str, text: str, tools: Sequence[Mapping[str, Any]] | None) -> tuple[ToolCall, ...] | None:
    """The calls in the text between two markers; None if the text is not a valid call.

    `parser` is a module of `mlx_lm.tool_parsers`; `tools` are the schemas, from which some parsers take types.
    """
    try:
        parsed = submodule(f"tool_parsers.{parser}").parse_tool_call(text, list(tools) if tools else None)
        return tuple(call_of(item) for item in (parsed if isinstance(parsed, list) else [parsed]))
    except Exception:  # noqa: BLE001 - the parsers raise whatever a wrong text leads to
        return None


def is_inside_text(parser: str | None, written: str) -> bool:
    """Whether an incomplete call ends inside a string of its arguments, where a marker does not end it."""
    return parser in _JSON_ARGUMENTS and len(_QUOTE.findall(written)) % 2 == 1


def is_whole_when_read(parser: str | None) -> bool:
    """Whether a call in this format that can be parsed is complete, even without its end marker."""
    return parser in _JSON_ARGUMENTS


def call_of(parsed: Mapping[str, Any]) -> ToolCall:
    """A tool call from a parsed object.

    Raises:
        KeyError, TypeError, ValueError: it is not a valid call.
    """
    arguments = parsed.get("arguments", parsed.get("parameters", {}))
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(arguments, dict) or not isinstance(parsed["name"], str):
        raise TypeError("not a call")
    json.dumps(arguments, allow_nan=False)  # clients could not parse anything else
    return ToolCall(parsed["name"], arguments)
