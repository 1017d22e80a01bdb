"""Splits a streamed answer into text, thinking and tool calls, by the model's markers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from mlxbuild.runtime.engine.output.bare_tool_calls import BARE_FORMS, BareCalls
from mlxbuild.runtime.engine.output.markers import MarkerSearch
from mlxbuild.runtime.engine.output.tool_calls import is_inside_text, is_whole_when_read, parse_tool_calls
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.protocol.events import Chunk, ToolCall

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
        requires_call: bool = False,
        allows_several: bool = True,
    ) -> None:
        """`thinking` says that the prompt ended with an opened think tag; `formed` that a grammar holds the answer.

        A formed answer is a document or calls, so markers inside a document are its text; one that `requires_call` has
        no text at all. Where several calls are not allowed the answer is over with the first one.
        """
        self._facts = facts
        self._tools = tools
        self._formed = formed
        self._requires_call = requires_call
        self._allows_several = allows_several
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

    @property
    def is_over(self) -> bool:
        """Whether the answer has the only call that it may have."""
        return self.called and not self._allows_several

    def feed(self, text: str) -> list[Chunk]:
        """What more text brings."""
        return list(self._feed(text))

    def finish(self, *, is_cut: bool = False) -> list[Chunk]:
        """What was held back, at the end of the answer.

        Where that `is_cut` the model would have gone on: what is left of a call or a marker is no text then.
        """
        return [] if self.is_over else list(self._finish(is_cut))

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
        while not self.is_over:
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

    def _finish(self, is_cut: bool) -> Iterator[Chunk]:
        held = (self._opening or "") + self._search.finish()
        is_marker = len(held) > 1 and any(each.startswith(held) for each in self._transitions())
        yield from self._told("" if is_cut and (is_marker or self._requires_call) else held)
        if (
            self._bare is not None
            and (text := self._bare.finish(is_cut=is_cut))
            and not (is_cut and self._requires_call)
        ):
            yield Chunk(text=text)
        if self._state == "tool":
            yield from self._calls("", is_cut=is_cut)

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
            yield from self._made(calls)
        if text and not self.is_over:
            yield Chunk(thinking=text) if self._state == "thinking" else Chunk(text=text)

    def _calls(self, end: str, *, is_cut: bool = False) -> Iterator[Chunk]:
        """What was written as a call, up to an end marker; when it is none, as the text it is."""
        facts, written, self._call = self._facts, self._call, ""
        is_lost = is_cut and bool(facts.tool_call_end) and not is_whole_when_read(facts.tool_parser)
        calls = None
        if facts.tool_parser and not is_lost:
            calls = parse_tool_calls(facts.tool_parser, written, self._tools)
        if calls is not None:
            yield from self._made(calls)
        elif not is_cut:
            yield Chunk(text=f"{facts.tool_call_start}{written}{end}")

    def _made(self, calls: Sequence[ToolCall]) -> Iterator[Chunk]:
        self.called = self.called or bool(calls)
        yield from (Chunk(tool_call=call) for call in (calls if self._allows_several else calls[:1]))
