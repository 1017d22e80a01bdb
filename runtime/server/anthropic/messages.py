"""The routes `POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from __future__ import annotations

import contextlib

from sanic import Request
from sanic.response import HTTPResponse, json

from mlxbuild.runtime.protocol.events import Chunk, Progress
from mlxbuild.runtime.protocol.requests import PromptRequest
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.runtime.server.anthropic.body import MessagesBody, PromptBody
from mlxbuild.runtime.server.anthropic.reply import Event, MessageEvents
from mlxbuild.runtime.server.anthropic.request import chat_request
from mlxbuild.runtime.server.anthropic.wire_format import WIRE_FORMAT
from mlxbuild.runtime.server.inference.asked_model import asked_model
from mlxbuild.runtime.server.inference.capabilities import require
from mlxbuild.runtime.server.responses.encoding import server_event
from mlxbuild.runtime.server.responses.streams import AnswerStream

_PING = server_event({"type": "ping"}, "ping")


async def messages(request: Request, body: MessagesBody) -> HTTPResponse | None:
    """Answer a conversation."""
    question = chat_request(body)
    told = MessageEvents(body)
    keep_alive = None if body.keep_alive is None else KeepAlive.parse(body.keep_alive)
    async with asked_model(request, body.model, keep_alive) as model:
        require(model, body.model, "completion", called="chat")
        if not body.stream:
            async with contextlib.aclosing(model.answer(question)) as events:
                async for event in events:
                    if isinstance(event, Chunk):
                        _ = list(told.add(event))
            return json(told.message)
        async with (
            AnswerStream(request, WIRE_FORMAT) as out,
            contextlib.aclosing(model.answer(question)) as events,
        ):
            has_begun = False
            async for event in events:
                if not has_begun:
                    has_begun = True
                    prompt_tokens = event.total_tokens if isinstance(event, Progress) else 0
                    for each in told.begin(prompt_tokens):
                        await out.send(_written(each))
                    await out.send(_PING)
                elif isinstance(event, Progress):
                    await out.send(_PING)
                if isinstance(event, Chunk):
                    for each in told.add(event):
                        await out.send(_written(each))
    return None


async def count_tokens(request: Request, body: PromptBody) -> HTTPResponse:
    """Count the tokens of a conversation's prompt."""
    question = chat_request(body)
    async with asked_model(request, body.model) as model:
        return json({"input_tokens": (await model.prompt(PromptRequest(question))).tokens})


def _written(event: Event) -> bytes:
    return server_event(event, event["type"])
