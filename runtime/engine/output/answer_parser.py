"""Splits a streamed answer into text, reasoning and tool calls, by the model's markers."""

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
    """A state machine over the text of one answer, which holds back what may be the beginning of a marker.

    White space around reasoning and between tool calls is dropped.
    """

    def __init__(
        self,
        facts: ModelFacts,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool = False,
        structured: bool = False,
        requires_call: bool = False,
        allows_several: bool = True,
    ) -> None:
        """`thinking`: the prompt ended with an open reasoning tag. `structured`: a grammar constrains the answer.

        A structured answer is a document or tool calls, and markers inside a document are text; with `requires_call` it
        has no text at all. Unless `allows_several`, the answer ends with the first call.
        """
        self._facts = facts
        self._tools = tools
        self._structured = structured
        self._requires_call = requires_call
        self._allows_several = allows_several
        self._state: State = "thinking" if thinking else "text"
        self._search = MarkerSearch(list(self._transitions()))
        self._drops_space = thinking or structured
        self._opening: str | None = "" if structured else None
        """The beginning of a structured answer, until it is clear whether it is a document or a tool call."""
        self._space = ""
        self._call = ""
        self._bare = BareCalls(tools) if tools and facts.tool_parser in BARE_FORMS else None
        self.called = False
        """Whether the answer contains a tool call."""

    @property
    def is_over(self) -> bool:
        """Whether the answer has the only call that it may have."""
        return self.called and not self._allows_several

    def feed(self, text: str) -> list[Chunk]:
        """The chunks that more text completes."""
        return list(self._feed(text))

    def finish(self, *, is_cut: bool = False) -> list[Chunk]:
        """The chunks of text that was held back, at the end of the answer.

        If the answer `is_cut` by its length limit, an incomplete call or marker is dropped.
        """
        return [] if self.is_over else list(self._finish(is_cut))

    def _transitions(self) -> dict[str, State]:
        facts = self._facts
        called = None if self._structured else facts.tool_call_start
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
            self._opening = "" if self._structured else None

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
        """Parse the text before an end marker as tool calls; if it is not valid, it is text."""
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
