"""`POST /api/chat`."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.runtime.engine.input.conversation import WITHOUT_TOOLS
from mlxbuild.runtime.protocol.requests import ChatRequest
from mlxbuild.runtime.server.inference.asked_model import AskedModel, asked_model
from mlxbuild.runtime.server.inference.template_variables import TemplateVariables, switched_off
from mlxbuild.runtime.server.ollama.answers import in_message
from mlxbuild.runtime.server.ollama.failures import cannot, lacks, missing_model, names_told
from mlxbuild.runtime.server.ollama.inference import answer, load_or_unload, tell_prompt
from mlxbuild.runtime.server.ollama.messages import MessageBody, conversation
from mlxbuild.runtime.server.ollama.validated_request import QuestionBody, ValidatedRequest


class ChatBody(QuestionBody):
    """The body of `POST /api/chat`."""

    messages: list[MessageBody] = Field(default_factory=list)
    tools: list[dict[str, Any]] = Field(default_factory=list)
    chat_template_kwargs: TemplateVariables = Field(default_factory=dict)
    """An extension: variables of the chat template."""


async def chat(request: Request, body: ChatBody) -> HTTPResponse | None:
    """Answer a conversation; without messages, load or unload the model."""
    if not body.named:
        raise missing_model("model is required")
    settled = body.settled()
    with names_told(body.named):
        if not body.messages:
            return await load_or_unload(request, body, settled.stays, in_message)
        async with asked_model(request, body.named, settled.stays) as asked:
            question = _question(body, settled, asked)
            if body.debug_render_only:
                return await tell_prompt(body, asked, question, in_message)
            return await answer(request, body, asked, question, in_message)


def _question(body: ChatBody, settled: ValidatedRequest, asked: AskedModel) -> ChatRequest:
    if "completion" not in asked.capabilities:
        raise lacks(body.named, "chat")
    if any(message.images for message in body.messages):
        raise cannot(asked.name, "vision")
    if body.tools and "tools" not in asked.capabilities:
        raise cannot(asked.name, "tools", hint=WITHOUT_TOOLS)
    think = switched_off(body.chat_template_kwargs) if body.think is None else None
    return ChatRequest(
        messages=conversation(body.messages),
        tools=tuple(body.tools),
        think=body.thinking(asked.capabilities) if think is None else think,
        template_variables=body.chat_template_kwargs,
        format=settled.format,
        options=settled.options.options,
        context_tokens=settled.options.context_tokens,
        truncates=body.truncate,
    )
