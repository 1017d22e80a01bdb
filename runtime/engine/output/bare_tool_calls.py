"""Parses tool calls in plain JSON without markers, at the start of an answer, as Llama 3 writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlxbuild.runtime.engine.output.tool_calls import call_of
from mlxbuild.runtime.protocol.events import ToolCall

BARE_FORMS: Mapping[str, str] = {"bare_json": "parameters", "bare_json_arguments": "arguments"}
"""Format names in the facts, with the key of the arguments in a call."""
_BEGINNINGS = ('{"name":', '{"type":"function",')
_PYTHON_TAG = "<|python_tag|>"
"""Llama 3 may write this before a call."""
_SPACE = re.compile(r"\s+")
_NAME = re.compile(r'"name"\s*:\s*"([^"\\]*)"')
_BETWEEN = " \t\r\n;,"
"""Characters that may separate two calls."""


class BareCalls:
    """Takes an answer in pieces, and holds back text that may become a call.

    Only JSON that names one of the tools is a call; other JSON is text, and so is everything after it.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        functions = [tool.get("function", tool) for tool in tools]
        self._names = {function.get("name") for function in functions if isinstance(function, Mapping)}
        self._held = ""
        self._has_called = False
        self._is_over = False

    def feed(self, text: str) -> tuple[list[ToolCall], str]:
        """The calls that this text completes, and the text after them that is certainly not a call."""
        calls: list[ToolCall] = []
        self._held += text
        while not self._is_over:
            begun = self._held.lstrip(_BETWEEN if self._has_called else None)
            if _PYTHON_TAG.startswith(begun):
                return calls, ""
            begun = begun.removeprefix(_PYTHON_TAG).lstrip()
            if _may_be_a_call(begun):
                try:
                    value, end = json.JSONDecoder().raw_decode(begun)
                except (ValueError, RecursionError):
                    return calls, ""  # it may still be incomplete
                if (call := self._call(value)) is not None:
                    calls.append(call)
                    self._held, self._has_called = begun[end:], True
                    continue
            self._is_over = True
        return calls, self.finish()

    def finish(self, *, is_cut: bool = False) -> str:
        """The text that was held back; white space after calls is dropped.

        If the answer `is_cut` by its length limit, an incomplete call of one of the tools is dropped too.
        """
        held, self._held = self._held, ""
        if is_cut and self._has_begun_a_call(held.lstrip(_BETWEEN).removeprefix(_PYTHON_TAG)):
            return ""
        return held.lstrip(_BETWEEN) if self._has_called else held

    def _has_begun_a_call(self, text: str) -> bool:
        begun = _SPACE.sub("", text)
        if not begun.startswith(_BEGINNINGS):
            return len(begun) > 1 and _PYTHON_TAG.startswith(begun)
        name = _NAME.search(text)
        return name is None or name[1] in self._names

    def _call(self, value: Any) -> ToolCall | None:
        if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
            value = value["function"]
        try:
            call = call_of(value)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return call if call.name in self._names else None


def _may_be_a_call(text: str) -> bool:
    begun = _SPACE.sub("", text[:64])
    return any(begun.startswith(beginning) or beginning.startswith(begun) for beginning in _BEGINNINGS)
