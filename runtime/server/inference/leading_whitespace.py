"""Holds back leading white space of an answer until text follows; before a tool call it is dropped.

Otherwise the answer would have a blank text before the call, which some clients cannot send back.
"""

from __future__ import annotations

from dataclasses import replace

from mlxbuild.runtime.protocol.events import Chunk


class LeadingWhitespace:
    """Filters the leading white space of one answer."""

    def __init__(self) -> None:
        self._kept = ""
        self._is_open = True

    def passed(self, chunk: Chunk) -> Chunk:
        """The filtered chunk. The space is sent with the first text or with the end, but never before tool calls."""
        if not self._is_open:
            return chunk
        if chunk.tool_call is not None:
            self._is_open, self._kept = False, ""
            return replace(chunk, text=chunk.text if chunk.text.strip() else "")
        self._kept += chunk.text
        if not self._kept.strip() and chunk.finish is None:
            return replace(chunk, text="") if chunk.text else chunk
        self._is_open = False
        return replace(chunk, text=self._kept)
