"""Keeps white space back that an answer begins with, until there is text: before a call of a tool it would be a part
of the answer in which nothing stands, which some clients cannot send back.
"""

from __future__ import annotations

from dataclasses import replace

from mlxbuild.runtime.protocol.events import Chunk


class OpeningSpace:
    """Of one answer."""

    def __init__(self) -> None:
        self._kept = ""
        self._is_open = True

    def passed(self, chunk: Chunk) -> Chunk:
        """The chunk as it is to be told. The space is told with the first text, or with the end; never before calls."""
        if not self._is_open:
            return chunk
        if chunk.tool_call is not None:
            self._is_open, self._kept = False, ""
            return replace(chunk, text=chunk.text if chunk.text.strip() else "")
        self._kept += chunk.text
        if not self._kept.strip() and chunk.ending is None:
            return replace(chunk, text="") if chunk.text else chunk
        self._is_open = False
        return replace(chunk, text=self._kept)
