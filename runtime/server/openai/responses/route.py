"""`POST /v1/responses`: the body is read, the model asked, and its answer written, whole or event by event."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from sanic import Request
from sanic.response import HTTPResponse, json

from runtime.protocol.events import Chunk, Progress
from runtime.server.api import Manners, server_event
from runtime.server.bodies import checked, read_json
from runtime.server.failures import HttpFailure
from runtime.server.ids import new_id
from runtime.server.openai.asking import check_abilities, model_of, tell_progress
from runtime.server.openai.manners import MANNERS
from runtime.server.openai.responses.body import ResponseBody, response_request
from runtime.server.openai.responses.reply import Event, ResponseEvents
from runtime.server.streams import AnswerStream


async def responses(request: Request) -> HTTPResponse | None:
    """Answer a conversation."""
    body = checked(ResponseBody, await read_json(request))
    question = response_request(body)
    told = ResponseEvents(body, new_id("resp_"))
    async with model_of(request, body.model, body.keep_alive) as model:
        check_abilities(model, body.model, question)
        if not body.stream:
            async with contextlib.aclosing(model.answer(question)) as events:
                async for event in events:
                    if isinstance(event, Chunk):
                        _ = list(told.add(event))
            return json(told.response)
        async with (
            AnswerStream(request, _manners(told)) as out,
            contextlib.aclosing(model.answer(question)) as events,
        ):
            has_begun = False
            async for event in events:
                if not has_begun:
                    has_begun = True
                    for each in told.begin():
                        await out.send(_written(each))
                if isinstance(event, Progress):
                    await tell_progress(out, event)
                    continue
                for each in told.add(event):
                    await out.send(_written(each))
    return None


def _written(event: Event) -> bytes:
    return server_event(event, event["type"])


def _manners(told: ResponseEvents) -> Manners:
    """An error in the middle of a stream is the end of this very response."""

    def stream_error(failure: HttpFailure, _request_id: str) -> bytes:
        return b"".join(map(_written, told.fail(failure)))

    return replace(MANNERS, stream_error=stream_error)
