"""From the body of `/v1/messages` to what is asked of the model."""

from __future__ import annotations

from typing import Any

from runtime.protocol.requests import AnswerFormat, ChatRequest, ToolChoice
from runtime.server.anthropic.blocks import conversation
from runtime.server.anthropic.body import (
    AutoChoice,
    MessagesBody,
    NamedChoice,
    NoChoice,
    PromptBody,
    ThinkingAdaptive,
    ThinkingOff,
    Tool,
)
from runtime.server.failures import InvalidRequest

_LEVELS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max"}


def chat_request(body: PromptBody) -> ChatRequest:
    """What is asked of the model; a body that only counts has no options.

    Raises:
        InvalidRequest: with the field that is wrong.
        NotSupported: something that this server cannot do.
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
    """Thinking is off until it is asked for: clients look for the answer in the first block."""
    effort = body.output_config.effort if body.output_config else None
    match body.thinking:
        case None | ThinkingOff():
            return False
        case ThinkingAdaptive():
            return None if effort is None else _LEVELS[effort]
        case _:
            return True if effort is None else _LEVELS[effort]


def _tools(body: PromptBody) -> tuple[tuple[dict[str, Any], ...], ToolChoice]:
    tools = body.tools or []
    names = [tool.name for tool in tools]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InvalidRequest(f"two tools are named `{name}`", where=f"tools[{number}]")
    match body.tool_choice:
        case NoChoice():
            return (), ToolChoice("none")
        case NamedChoice() as named:
            if named.name not in names:
                raise InvalidRequest(f"no tool is named `{named.name}`", where="tool_choice.name")
            choice = ToolChoice("required", named.name, not named.disable_parallel_tool_use)
        case AutoChoice(type="any") as wanted:
            if not tools:
                raise InvalidRequest("a call is required, and there are no tools", where="tool_choice")
            choice = ToolChoice("required", None, not wanted.disable_parallel_tool_use)
        case AutoChoice() as free:
            choice = ToolChoice("auto", None, not free.disable_parallel_tool_use)
        case None:
            choice = ToolChoice()
    return tuple(_schema(tool) for tool in tools), choice


def _schema(tool: Tool) -> dict[str, Any]:
    described = {} if tool.description is None else {"description": tool.description}
    return {"type": "function", "function": {"name": tool.name, **described, "parameters": tool.input_schema}}
