"""Converts the body of `/v1/messages` to a request to the model."""

from __future__ import annotations

from typing import Any

from mlxbuild.runtime.protocol.requests import AnswerFormat, ChatRequest, ToolChoice
from mlxbuild.runtime.server.anthropic.blocks import conversation
from mlxbuild.runtime.server.anthropic.body import (
    AutoChoice,
    MessagesBody,
    NamedChoice,
    NoChoice,
    PromptBody,
    ThinkingAdaptive,
    ThinkingOff,
)
from mlxbuild.runtime.server.inference.tool_choice import TemplateTool, chosen

_LEVELS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max"}


def chat_request(body: PromptBody) -> ChatRequest:
    """The request to the model; the body of a token count has no sampling options.

    Raises:
        InvalidRequest: a field is wrong; the error names it.
        NotSupported: the body asks for something that this server cannot do.
    """
    tools, choice = _tools(body)
    form = body.output_config.format if body.output_config else None
    return ChatRequest(
        messages=conversation(body.system, body.messages),
        tools=tools,
        tool_choice=choice,
        think=_thinking(body),
        format=AnswerFormat(form.schema_) if form else None,
        options=_options(body) if isinstance(body, MessagesBody) else {},
        truncates=False,
    )


def _options(body: MessagesBody) -> dict[str, Any]:
    options = {
        "max_tokens": body.max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "stops": tuple(body.stop_sequences) if body.stop_sequences else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _thinking(body: PromptBody) -> bool | str | None:
    """The thinking mode; off unless requested, as clients expect the answer in the first block."""
    effort = body.output_config.effort if body.output_config else None
    match body.thinking:
        case None | ThinkingOff():
            return False
        case ThinkingAdaptive():
            return None if effort is None else _LEVELS[effort]
        case _:
            return True if effort is None else _LEVELS[effort]


def _tools(body: PromptBody) -> tuple[tuple[TemplateTool, ...], ToolChoice]:
    tools = [tool.as_template_tool(f"tools[{number}]") for number, tool in enumerate(body.tools or ())]
    match body.tool_choice:
        case None:
            return chosen(tools)
        case NoChoice():
            return chosen(tools, mode="none")
        case NamedChoice(name=name, disable_parallel_tool_use=is_single):
            return chosen(tools, mode="required", name=name, allows_several=not is_single)
        case AutoChoice(type=kind, disable_parallel_tool_use=is_single):
            return chosen(tools, mode="required" if kind == "any" else "auto", allows_several=not is_single)
