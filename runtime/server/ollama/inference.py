"""Answers a parsed request for `generate` and `chat`."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.runtime.protocol.events import Chunk
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest, PromptRequest
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.connections.observation import begun_at
from mlxbuild.runtime.server.inference.asked_model import AskedModel, asked_model
from mlxbuild.runtime.server.models.names import find_model
from mlxbuild.runtime.server.ollama.answers import AnswerWriter, Form, now
from mlxbuild.runtime.server.ollama.validated_request import QuestionBody
from mlxbuild.runtime.server.responses.encoding import as_json, json_line
from mlxbuild.runtime.server.responses.native_format import NATIVE_FORMAT
from mlxbuild.runtime.server.responses.streams import AnswerStream

JSON_TYPE = "application/json; charset=utf-8"


async def load_or_unload(request: Request, body: QuestionBody, stays: KeepAlive | None, form: Form) -> HTTPResponse:
    """Answer an empty request: it loads the model, or unloads it if the keep-alive is 0."""
    application = application_of(request)
    reference, digest = find_model(application.store, body.named)
    is_unload = stays is not None and stays.seconds == 0
    if is_unload:
        await application.residency.unload(str(replace(reference, digest=digest)))
    else:
        async with asked_model(request, body.named, stays):
            pass
    reason = "unload" if is_unload else "load"
    fields = {"model": body.echoed, "created_at": now(), **form("", "", [])}
    return json_answer({**fields, "done": True, "done_reason": reason})


async def tell_prompt(
    body: QuestionBody, asked: AskedModel, question: ChatRequest | CompletionRequest, form: Form
) -> HTTPResponse:
    """Answer with the prompt that the model would be given."""
    prompt = await asked.prompt(PromptRequest(question))
    told = {"rendered_template": prompt.text, "image_count": 0}
    fields = {"model": body.echoed, "created_at": now(), **form("", "", []), "done": False}
    return json_answer({**fields, "_debug_info": told})


async def answer(
    request: Request,
    body: QuestionBody,
    asked: AskedModel,
    question: ChatRequest | CompletionRequest,
    form: Form,
) -> HTTPResponse | None:
    """Answer as a stream, or as one object."""
    writer = AnswerWriter(body.echoed, form, begun=begun_at(request), lease=asked.lease)
    async with contextlib.aclosing(asked.answer(question)) as events:
        if not body.stream:
            async for event in events:
                if isinstance(event, Chunk):
                    writer.piece(event)
            return json_answer(writer.whole())
        async with AnswerStream(request, NATIVE_FORMAT) as stream:
            async for event in events:
                if isinstance(event, Chunk) and (piece := writer.piece(event)) is not None:
                    await stream.send(json_line(piece))
            await stream.send(json_line(writer.end()))
    return None


def json_answer(document: dict[str, Any], status: int = 200) -> HTTPResponse:
    """A response with one JSON object."""
    return HTTPResponse(as_json(document), status, content_type=JSON_TYPE)
