"""The route `POST /v1/completions`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

from sanic import Request
from sanic.response import HTTPResponse, json

from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, Progress
from mlxbuild.runtime.protocol.requests import CompletionRequest, PromptRequest
from mlxbuild.runtime.server.inference.asked_model import AskedModel
from mlxbuild.runtime.server.inference.capabilities import require
from mlxbuild.runtime.server.inference.choices import Told, answers_of
from mlxbuild.runtime.server.inference.ids import new_id
from mlxbuild.runtime.server.openai.completions.body import CompletionBody, completion_requests
from mlxbuild.runtime.server.openai.completions.reply import Completions
from mlxbuild.runtime.server.openai.inference import fingerprint, model_of, tell_progress
from mlxbuild.runtime.server.openai.places import tell_places
from mlxbuild.runtime.server.openai.wire_format import DONE, WIRE_FORMAT
from mlxbuild.runtime.server.responses.encoding import server_event
from mlxbuild.runtime.server.responses.streams import AnswerStream


async def completions(request: Request, body: CompletionBody) -> HTTPResponse | None:
    """Continue texts."""
    tell_places(request, prompt="prompt", form=body.form_field())
    questions = completion_requests(body)
    async with model_of(request, body.model, body.stays()) as model:
        require(model, body.model, "completion")
        if body.suffix:
            require(model, body.model, "insert", where="suffix")
        head = {"id": new_id("cmpl-"), "created": int(time.time()), "model": body.model, **fingerprint(model)}
        echoes = await _prompts(model, questions) if body.echo else [""] * len(questions)
        told = Completions(head, echoes, body.n or 1, with_scores=body.logprobs is not None)
        answers = _unanswered if body.max_tokens == 0 else answers_of
        if not body.stream:
            async with contextlib.aclosing(answers(model, questions)) as events:
                async for number, event in events:
                    if isinstance(event, Chunk):
                        told.add(number, event)
            return json(told.reply())
        with_usage = bool(body.stream_options and body.stream_options.include_usage)
        async with AnswerStream(request, WIRE_FORMAT) as out:
            async with contextlib.aclosing(answers(model, questions)) as events:
                async for number, event in events:
                    if isinstance(event, Progress):
                        await tell_progress(out, event)
                        continue
                    for chunk in told.chunks(number, event, with_usage=with_usage):
                        await out.send(server_event(chunk))
            if with_usage:
                await out.send(server_event(told.usage_chunk()))
            await out.send(DONE)
    return None


async def _unanswered(model: AskedModel, questions: Sequence[CompletionRequest]) -> AsyncGenerator[Told]:
    """The events of answers whose `max_tokens` is 0."""
    for number, question in enumerate(questions):
        prompt = await model.prompt(PromptRequest(question))
        yield number, Chunk(finish=GenerationFinished("length", prompt.tokens, 0, 0, 0.0, 0.0))


async def _prompts(model: AskedModel, questions: Sequence[CompletionRequest]) -> list[str]:
    """The prompts as text."""
    return [
        question.prompt
        if isinstance(question.prompt, str)
        else (await model.prompt(PromptRequest(CompletionRequest(question.prompt)))).text
        for question in questions
    ]
