"""Reads tool calls as a model writes them, by mlx-lm's parser for its form. They are found elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlxbuild.runtime.model.mlx_lm_package import submodule
from mlxbuild.runtime.protocol.events import ToolCall

_JSON_ARGUMENTS = ("json_tools", "kimi_k2")
_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')


def parse_tool_calls(parser: str, text: str, tools: Sequence[Mapping[str, Any]] | None) -> tuple[ToolCall, ...] | None:
    """The calls in the text between two markers, or None when the model wrote something that is no call.

    `parser` names a module below `mlx_lm.tool_parsers`; `tools` are the schemas, by which some of them read types.
    """
    try:
        parsed = submodule(f"tool_parsers.{parser}").parse_tool_call(text, list(tools) if tools else None)
        return tuple(call_of(item) for item in (parsed if isinstance(parsed, list) else [parsed]))
    except Exception:  # noqa: BLE001 - the parsers raise whatever a wrong text leads to
        return None


def is_inside_text(parser: str | None, written: str) -> bool:
    """Whether a call, as far as it is written, ends inside a text of its arguments: no marker ends it there."""
    return parser in _JSON_ARGUMENTS and len(_QUOTE.findall(written)) % 2 == 1


def is_whole_when_read(parser: str | None) -> bool:
    """Whether a call of that form that can be read was written to its end, even where its end marker is missing."""
    return parser in _JSON_ARGUMENTS


def call_of(parsed: Mapping[str, Any]) -> ToolCall:
    """A call as a model wrote it.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    arguments = parsed.get("arguments", parsed.get("parameters", {}))
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(arguments, dict) or not isinstance(parsed["name"], str):
        raise TypeError("not a call")
    json.dumps(arguments, allow_nan=False)  # nobody could send on what is no JSON
    return ToolCall(parsed["name"], arguments)
