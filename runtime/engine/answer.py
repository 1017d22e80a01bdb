"""Splits a streamed answer into text, thinking and tool calls, by the model's markers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from runtime.engine.bare_calls import BARE_FORMS, BareCalls
from runtime.engine.markers import MarkerSearch
from runtime.engine.tool_calls import is_inside_text, parse_tool_calls
from runtime.model.facts import ModelFacts
from runtime.protocol.events import Chunk

State = Literal["text", "thinking", "tool"]


class AnswerSplitter:
    """Where in its answer a model is, and what may be the beginning of a marker.

    White space around thinking and between tool calls belongs to the form and is dropped.
    """

    def __init__(
        self,
        facts: ModelFacts,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool = False,
        formed: bool = False,
    ) -> None:
        """`thinking` says that the prompt ended with an opened think tag; `formed` that a grammar holds the answer.

        A formed answer is a document or calls, so markers inside a document are its text.
        """
        self._facts = facts
        self._tools = tools
        self._formed = formed
        self._state: State = "thinking" if thinking else "text"
        self._search = MarkerSearch(list(self._transitions()))
        self._drops_space = thinking or formed
        self._opening: str | None = "" if formed else None
        """What a formed answer began with, until that tells which of the two it is."""
        self._space = ""
        self._call = ""
        self._bare = BareCalls(tools) if tools and facts.tool_parser in BARE_FORMS else None
        self.called = False
        """Whether the answer has had a call of a tool."""

    def feed(self, text: str) -> list[Chunk]:
        """What more text brings."""
        return list(self._feed(text))

    def finish(self) -> list[Chunk]:
        """What was held back, at the end of the answer."""
        return list(self._finish())

    def _transitions(self) -> dict[str, State]:
        facts = self._facts
        called = None if self._formed else facts.tool_call_start
        edges: Mapping[State, Mapping[str | None, State]] = {
            "text": {facts.think_start: "thinking", facts.tool_call_start: "tool"},
            "thinking": {facts.think_end: "text", called: "tool"},
            "tool": {facts.tool_call_end: "text"},
        }
        return {marker: state for marker, state in edges[self._state].items() if marker}

    def _feed(self, text: str) -> Iterator[Chunk]:
        while True:
            if self._state == "text" and self._opening is not None:
                text = (self._opening + self._search.finish() + text).lstrip()
                if any(marker.startswith(text) for marker in self._search.markers if marker != text):
                    self._opening = text
                    return
                self._opening = None
                if not text.startswith(self._search.markers):
                    self._search.markers = ()
            before, marker = self._search.feed(text)
            yield from self._told(before)
            if marker is None:
                return
            if self._state == "tool" and is_inside_text(self._facts.tool_parser, self._call):
                self._call, text = self._call + marker, ""
                continue
            entered = self._transitions()[marker]
            if self._state == "tool":
                yield from self._calls(marker)
            self._state, self._space, text = entered, "", ""
            self._drops_space = True
            self._search.markers = tuple(self._transitions())
            self._opening = "" if self._formed else None

    def _finish(self) -> Iterator[Chunk]:
        yield from self._told((self._opening or "") + self._search.finish())
        if self._bare is not None and (text := self._bare.finish()):
            yield Chunk(text=text)
        if self._state == "tool":
            yield from self._calls("")

    def _told(self, text: str) -> Iterator[Chunk]:
        if self._state == "tool":
            self._call += text
            return
        if self._drops_space:
            text = text.lstrip()
            self._drops_space = not text
        if self._state == "thinking":
            text = self._space + text
            self._space = text[len(text.rstrip()) :]
            text = text.rstrip()
        if self._state == "text" and self._bare is not None:
            calls, text = self._bare.feed(text)
            self.called = self.called or bool(calls)
            yield from (Chunk(tool_call=call) for call in calls)
        if text:
            yield Chunk(thinking=text) if self._state == "thinking" else Chunk(text=text)

    def _calls(self, end: str) -> Iterator[Chunk]:
        """What was written as a call, up to an end marker; when it is none, as the text it is."""
        facts, written, self._call = self._facts, self._call, ""
        calls = parse_tool_calls(facts.tool_parser, written, self._tools) if facts.tool_parser else None
        if calls is None:
            yield Chunk(text=f"{facts.tool_call_start}{written}{end}")
            return
        self.called = self.called or bool(calls)
        for call in calls:
            yield Chunk(tool_call=call)
