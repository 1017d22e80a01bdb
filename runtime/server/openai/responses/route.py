"""The route `POST /v1/responses`."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial

from sanic import Request
from sanic.response import HTTPResponse, json

from mlxbuild.runtime.protocol.events import Chunk, Progress
from mlxbuild.runtime.protocol.requests import ChatRequest
from mlxbuild.runtime.server.failures import HttpFailure
from mlxbuild.runtime.server.inference.ids import new_id
from mlxbuild.runtime.server.openai.inference import check_abilities, model_of, tell_progress
from mlxbuild.runtime.server.openai.places import tell_places
from mlxbuild.runtime.server.openai.responses.body import ResponseBody, response_request, wanted_thinking
from mlxbuild.runtime.server.openai.responses.keeping import owner_of, reasoning_seal, stored_responses
from mlxbuild.runtime.server.openai.responses.reply import Event, ResponseEvents
from mlxbuild.runtime.server.openai.responses.whole_input import whole_input
from mlxbuild.runtime.server.openai.wire_format import WIRE_FORMAT
from mlxbuild.runtime.server.responses.encoding import server_event
from mlxbuild.runtime.server.responses.streams import AnswerStream
from mlxbuild.runtime.server.responses.wire_format import WireFormat


async def responses(request: Request, body: ResponseBody) -> HTTPResponse | None:
    """Answer a conversation."""
    tell_places(request, prompt="input", form="text.format" if body.text else None)
    told, question = _begun(request, body)
    async with model_of(request, body.model, body.stays()) as model:
        check_abilities(model, body.model, question, wanted_thinking(body)[1])
        if not body.stream:
            async with contextlib.aclosing(model.answer(question)) as events:
                async for event in events:
                    if isinstance(event, Chunk):
                        _ = list(told.add(event))
            return json(told.response)
        async with (
            AnswerStream(request, _wire_format(told)) as out,
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


def _begun(request: Request, body: ResponseBody) -> tuple[ResponseEvents, ChatRequest]:
    stored, seal, owner = stored_responses(request), reasoning_seal(request), owner_of(request)
    whole = whole_input(body, body.given_input, stored, owner, partial(seal.open, owner))
    told = ResponseEvents(
        body,
        new_id("resp_"),
        keep=partial(stored.keep, owner, items=whole.written) if stored.keeps and body.store is not False else None,
        seal=partial(seal.seal, owner) if body.wants_sealed_reasoning() else None,
    )
    return told, response_request(body, whole.own, whole.before)


def _written(event: Event) -> bytes:
    return server_event(event, event["type"])


def _wire_format(told: ResponseEvents) -> WireFormat:
    """OpenAI's format, in which an error in the middle of the stream ends this response."""

    def stream_error(failure: HttpFailure, _request_id: str) -> bytes:
        return b"".join(map(_written, told.fail(failure)))

    return replace(WIRE_FORMAT, stream_error=stream_error)
