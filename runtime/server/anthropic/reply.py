"""Builds a message from the model's chunks: its content blocks, the stream events, and the complete message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, ToolCall
from mlxbuild.runtime.server.anthropic.body import MessagesBody
from mlxbuild.runtime.server.inference.ids import new_id

Event = dict[str, Any]


class MessageEvents:
    """One message. Every chunk of the model yields events; `message` is the message so far."""

    def __init__(self, body: MessagesBody) -> None:
        """Start with an empty message."""
        self.message: dict[str, Any] = {
            "id": new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": body.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(0, 0),
        }
        self._sequences = body.stop_sequences or []
        self._max_tokens = body.max_tokens
        self._shows_thinking = body.thinking is not None and body.thinking.type != "disabled"
        self._kind: str | None = None
        self._parts: list[str] = []

    def begin(self, prompt_tokens: int) -> Iterator[Event]:
        """The event that starts the message, with the length of its prompt."""
        self.message["usage"] = _usage(prompt_tokens, 0)
        yield {"type": "message_start", "message": dict(self.message)}

    def add(self, chunk: Chunk) -> Iterator[Event]:
        """The events of a chunk. Consume all of them, as the message is updated along the way."""
        if chunk.thinking and self._shows_thinking:
            yield from self._open("thinking")
            self._parts.append(chunk.thinking)
            yield self._delta({"type": "thinking_delta", "thinking": chunk.thinking})
        if chunk.text:
            yield from self._open("text")
            self._parts.append(chunk.text)
            yield self._delta({"type": "text_delta", "text": chunk.text})
        if chunk.tool_call is not None:
            yield from self._close()
            yield from self._call(chunk.tool_call)
        if chunk.finish is not None:
            yield from self._end(chunk.finish)

    def _end(self, finish: GenerationFinished) -> Iterator[Event]:
        yield from self._close()
        reason, sequence = self._reason(finish)
        self.message |= {
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": _usage(finish.prompt_tokens, finish.answer_tokens),
        }
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        yield {"type": "message_delta", "delta": delta, "usage": self.message["usage"]}
        yield {"type": "message_stop"}

    def _reason(self, finish: GenerationFinished) -> tuple[str, str | None]:
        if finish.reason == "tool_calls":
            return "tool_use", None
        if finish.reason == "length":
            is_full = finish.answer_tokens < self._max_tokens
            return "model_context_window_exceeded" if is_full else "max_tokens", None
        if finish.stop in self._sequences:
            return "stop_sequence", finish.stop
        return "end_turn", None

    def _open(self, kind: str) -> Iterator[Event]:
        if self._kind == kind:
            return
        yield from self._close()
        self._kind = kind
        yield {"type": "content_block_start", "index": self._index(), "content_block": _block(kind, "")}

    def _close(self) -> Iterator[Event]:
        if self._kind is None:
            return
        if self._kind == "thinking":
            yield self._delta({"type": "signature_delta", "signature": ""})
        block = _block(self._kind, "".join(self._parts))
        yield {"type": "content_block_stop", "index": self._index()}
        self.message["content"] = [*self.message["content"], block]
        self._kind, self._parts = None, []

    def _call(self, call: ToolCall) -> Iterator[Event]:
        block = {"type": "tool_use", "id": new_id("toolu_"), "name": call.name}
        yield {"type": "content_block_start", "index": self._index(), "content_block": {**block, "input": {}}}
        text = json.dumps(call.arguments, ensure_ascii=False)
        yield self._delta({"type": "input_json_delta", "partial_json": text})
        yield {"type": "content_block_stop", "index": self._index()}
        self.message["content"] = [*self.message["content"], {**block, "input": dict(call.arguments)}]

    def _delta(self, delta: dict[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": self._index(), "delta": delta}

    def _index(self) -> int:
        return len(self.message["content"])


def _block(kind: str, text: str) -> dict[str, Any]:
    if kind == "thinking":
        return {"type": "thinking", "thinking": text, "signature": ""}
    return {"type": "text", "text": text}


def _usage(prompt_tokens: int, answer_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": answer_tokens,
    }
