"""The route `POST /v1/chat/completions`."""

from __future__ import annotations

import contextlib
import time

from sanic import Request
from sanic.response import HTTPResponse, json

from mlxbuild.runtime.protocol.answers import Answer
from mlxbuild.runtime.protocol.events import Chunk, Progress
from mlxbuild.runtime.server.inference.choices import answers_of
from mlxbuild.runtime.server.inference.ids import new_id
from mlxbuild.runtime.server.openai.chat.body import ChatBody
from mlxbuild.runtime.server.openai.chat.reply import chat_reply
from mlxbuild.runtime.server.openai.chat.request import chat_requests, wanted_thinking
from mlxbuild.runtime.server.openai.chat.stream import ChatStream
from mlxbuild.runtime.server.openai.inference import check_abilities, fingerprint, model_of, tell_progress
from mlxbuild.runtime.server.openai.places import tell_places
from mlxbuild.runtime.server.openai.wire_format import DONE, WIRE_FORMAT
from mlxbuild.runtime.server.responses.encoding import server_event
from mlxbuild.runtime.server.responses.streams import AnswerStream


async def chat_completions(request: Request, body: ChatBody) -> HTTPResponse | None:
    """Answer a conversation."""
    tell_places(request, prompt="messages", form=body.form_field())
    questions = chat_requests(body)
    async with model_of(request, body.model, body.stays()) as model:
        check_abilities(model, body.model, questions[0], wanted_thinking(body)[1])
        head = {"id": new_id("chatcmpl-"), "created": int(time.time()), "model": body.model, **fingerprint(model)}
        with_scores = bool(body.logprobs)
        if not body.stream:
            answers = [Answer() for _ in questions]
            async with contextlib.aclosing(answers_of(model, questions)) as events:
                async for number, event in events:
                    if isinstance(event, Chunk):
                        answers[number].add(event)
            return json(chat_reply(head, answers, with_scores=with_scores))
        with_usage = bool(body.stream_options and body.stream_options.include_usage)
        stream = ChatStream(head, len(questions), with_scores=with_scores, with_usage=with_usage)
        async with AnswerStream(request, WIRE_FORMAT) as out:
            async with contextlib.aclosing(answers_of(model, questions)) as events:
                async for number, event in events:
                    if isinstance(event, Progress):
                        await tell_progress(out, event)
                        continue
                    for chunk in stream.chunks(number, event):
                        await out.send(server_event(chunk))
            for chunk in stream.usage():
                await out.send(server_event(chunk))
            await out.send(DONE)
    return None
