"""Builds a response from the model's chunks: its items, the stream events, and the complete response."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlxbuild.runtime.protocol.answers import Answer
from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, ToolCall
from mlxbuild.runtime.server.failures import HttpFailure, InvalidRequest
from mlxbuild.runtime.server.inference.ids import new_id
from mlxbuild.runtime.server.openai.replies import score_reply
from mlxbuild.runtime.server.openai.responses.body import ResponseBody

Event = dict[str, Any]
_REASONING, _MESSAGE = "reasoning", "message"


class ResponseEvents:
    """One response. Every chunk of the model yields events; `response` is the response so far."""

    def __init__(
        self,
        body: ResponseBody,
        response_id: str,
        *,
        keep: Callable[[Mapping[str, Any]], bool] | None = None,
        seal: Callable[[str], str] | None = None,
    ) -> None:
        """Start with an empty response.

        Args:
            keep: Stores the complete response before the last event; returns whether it did. None does not store it.
            seal: Encrypts the reasoning for this server; None if that is not requested.
        """
        self._keep, self._seal = keep, seal
        self.response = _empty(body, response_id, is_stored=keep is not None)
        self._tools = body.callable_tools()
        self._answer = Answer()
        self._sequence = 0
        self._item: dict[str, Any] | None = None
        self._parts: list[str] = []
        self._scores: list[Any] = []

    def begin(self) -> Iterator[Event]:
        """The events that start the response."""
        yield self._event("response.created", response=dict(self.response))
        yield self._event("response.in_progress", response=dict(self.response))

    def add(self, chunk: Chunk) -> Iterator[Event]:
        """The events of a chunk. Consume all of them, as the response is updated along the way."""
        scores = [score_reply(each) for each in self._answer.add(chunk)]
        if chunk.thinking:
            yield from self._open(_REASONING)
            self._parts.append(chunk.thinking)
            yield self._part_event("response.reasoning_summary_text.delta", delta=chunk.thinking)
        if chunk.text:
            yield from self._open(_MESSAGE)
            self._parts.append(chunk.text)
            self._scores += scores
            yield self._part_event("response.output_text.delta", delta=chunk.text, logprobs=scores)
        if chunk.tool_call is not None:
            yield from self._close("completed")
            yield from self._call(chunk.tool_call)
        if chunk.finish is not None:
            yield from self._end(chunk.finish)

    def fail(self, failure: HttpFailure) -> Iterator[Event]:
        """The events that end a failed response."""
        yield from self._close("incomplete")
        self.response |= {"status": "failed", "error": {"code": "server_error", "message": failure.message}}
        yield self._event("error", code=failure.code, message=failure.message, param=failure.where)
        yield self._event("response.failed", response=dict(self.response))

    def _end(self, finish: GenerationFinished) -> Iterator[Event]:
        is_cut = finish.reason == "length"
        status = "incomplete" if is_cut else "completed"
        yield from self._close(status)
        self.response |= {
            "status": status,
            "completed_at": None if is_cut else int(time.time()),
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "usage": {
                "input_tokens": finish.prompt_tokens,
                "input_tokens_details": {"cached_tokens": finish.reused_tokens, "cache_write_tokens": 0},
                "output_tokens": finish.answer_tokens,
                "output_tokens_details": {"reasoning_tokens": self._answer.thinking_tokens},
                "total_tokens": finish.prompt_tokens + finish.answer_tokens,
            },
        }
        if self._keep is not None:
            self.response["store"] = self._keep(self.response)
        yield self._event(f"response.{status}", response=dict(self.response))

    def _open(self, kind: str) -> Iterator[Event]:
        if self._item is not None and self._item["type"] == kind:
            return
        yield from self._close("completed")
        if kind == _REASONING:
            self._item = {"id": new_id("rs_"), "type": _REASONING, "status": "in_progress", "summary": []}
        else:
            self._item = {
                "id": new_id("msg_"),
                "type": _MESSAGE,
                "status": "in_progress",
                "role": "assistant",
                "content": [],
            }
        yield self._event("response.output_item.added", output_index=self._index(), item=dict(self._item))
        added = "response.reasoning_summary_part.added" if kind == _REASONING else "response.content_part.added"
        yield self._part_event(added, part=_part(kind, "", []))

    def _close(self, status: str) -> Iterator[Event]:
        """The events that complete the open item, if there is one."""
        item, text, scores = self._item, "".join(self._parts), self._scores
        if item is None:
            return
        part = _part(item["type"], text, scores)
        if item["type"] == _REASONING:
            yield self._part_event("response.reasoning_summary_text.done", text=text)
            yield self._part_event("response.reasoning_summary_part.done", part=part)
        else:
            yield self._part_event("response.output_text.done", text=text, logprobs=scores)
            yield self._part_event("response.content_part.done", part=part)
        item |= {"status": status, ("summary" if item["type"] == _REASONING else "content"): [part]}
        if item["type"] == _REASONING and self._seal is not None:
            item["encrypted_content"] = self._seal(text)
        yield from self._done(item)
        self._item, self._parts, self._scores = None, [], []

    def _call(self, call: ToolCall) -> Iterator[Event]:
        item = self._tools.item(call)
        of, told = ("custom_tool_call_input", "input") if "input" in item else ("function_call_arguments", "arguments")
        where = {"output_index": self._index(), "item_id": item["id"]}
        named = {} if told == "input" else {"name": item["name"]}
        begun = {**item, "status": "in_progress", told: ""}
        yield self._event("response.output_item.added", output_index=self._index(), item=begun)
        yield self._event(f"response.{of}.delta", **where, delta=item[told])
        yield self._event(f"response.{of}.done", **where, **named, **{told: item[told]})
        yield from self._done({**item, "status": "completed"})

    def _done(self, item: dict[str, Any]) -> Iterator[Event]:
        yield self._event("response.output_item.done", output_index=self._index(), item=item)
        self.response["output"] = [*self.response["output"], item]

    def _part_event(self, kind: str, /, **fields: Any) -> Event:
        """An event about the only part of the open item."""
        assert self._item is not None
        part_index = "summary_index" if self._item["type"] == _REASONING else "content_index"
        return self._event(kind, item_id=self._item["id"], output_index=self._index(), **{part_index: 0}, **fields)

    def _index(self) -> int:
        return len(self.response["output"])

    def _event(self, kind: str, /, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event


def _part(kind: str, text: str, scores: list[Any]) -> dict[str, Any]:
    if kind == _REASONING:
        return {"type": "summary_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": scores}


def _empty(body: ResponseBody, response_id: str, *, is_stored: bool) -> dict[str, Any]:
    def echoed(value: Any, absent: Any) -> Any:
        return absent if value is None else value

    try:
        given = body.model_dump(mode="json", by_alias=True)
    except ValueError as error:  # pydantic serializes some 120 levels
        raise InvalidRequest("the request nests too deeply to be repeated in the response") from error
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": None,
        "metadata": body.metadata or {},
        "model": body.model,
        "output": [],
        "parallel_tool_calls": echoed(body.parallel_tool_calls, True),
        "previous_response_id": body.previous_response_id,
        "reasoning": echoed(given["reasoning"], {"effort": None, "summary": None}),
        "service_tier": "default",
        "store": is_stored,
        "temperature": body.temperature,
        "text": {"format": echoed(given["text"] and given["text"]["format"], {"type": "text"})},
        "tool_choice": echoed(given["tool_choice"], "auto"),
        "tools": given["tools"] or [],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": body.top_p,
        "truncation": echoed(body.truncation, "disabled"),
        "usage": None,
        "user": body.user,
    }
