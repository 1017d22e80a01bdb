"""`POST /api/generate`."""

from __future__ import annotations

from pydantic import Field
from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported
from mlxbuild.runtime.server.inference.asked_model import AskedModel, asked_model
from mlxbuild.runtime.server.ollama.answers import in_response
from mlxbuild.runtime.server.ollama.failures import cannot, lacks, missing_model, names_told
from mlxbuild.runtime.server.ollama.inference import answer, load_or_unload, tell_prompt
from mlxbuild.runtime.server.ollama.validated_request import QuestionBody, ValidatedRequest


class GenerateBody(QuestionBody):
    """The body of `POST /api/generate`."""

    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: list[int] = Field(default_factory=list)
    raw: bool = False
    images: list[str] = Field(default_factory=list)


async def generate(request: Request, body: GenerateBody) -> HTTPResponse | None:
    """Answer a prompt; without one, load or unload the model."""
    if not body.named:
        raise missing_model("not found")
    if body.raw and (body.template or body.system or body.context):
        raise InvalidRequest("raw mode does not support template, system, or context")
    settled = body.settled()
    with names_told(body.named):
        if not body.prompt:
            return await load_or_unload(request, body, settled.stays, in_response)
        async with asked_model(request, body.named, settled.stays) as asked:
            question = _question(body, settled, asked)
            if body.debug_render_only:
                return await tell_prompt(body, asked, question, in_response)
            return await answer(request, body, asked, question, in_response)


def _question(body: GenerateBody, settled: ValidatedRequest, asked: AskedModel) -> ChatRequest | CompletionRequest:
    if "completion" not in asked.capabilities:
        raise lacks(body.named, "generate")
    if body.images:
        raise cannot(asked.name, "vision")
    if body.suffix and "insert" not in asked.capabilities:
        raise cannot(asked.name, "insert")
    think = body.thinking(asked.capabilities)
    has_template = asked.lease.runner.facts.chat_template is not None
    if body.raw or body.suffix or not has_template:
        return _completion(body, settled)
    return ChatRequest(
        messages=({"role": "user", "content": body.prompt},),
        think=think,
        system=body.system or None,
        template=body.template or None,
        preceding_tokens=tuple(body.context),
        format=settled.format,
        options=settled.options.options,
        context_tokens=settled.options.context_tokens,
        truncates=body.truncate,
        wants_tokens=True,
    )


def _completion(body: GenerateBody, settled: ValidatedRequest) -> CompletionRequest:
    for name, value in (("system", body.system), ("template", body.template), ("context", body.context)):
        if value:
            raise NotSupported(f"`{name}` needs a chat template, which is not used here", hint="write it in the prompt")
    return CompletionRequest(
        prompt=body.prompt,
        suffix=body.suffix or None,
        format=settled.format,
        options=settled.options.options,
        context_tokens=settled.options.context_tokens,
        truncates=body.truncate,
        wants_tokens=not body.raw,
    )
