"""Converts the body of a chat completion to requests to the model."""

from __future__ import annotations

from mlxbuild.runtime.protocol.requests import ChatRequest, ToolChoice
from mlxbuild.runtime.server.inference.tool_choice import TemplateTool, chosen
from mlxbuild.runtime.server.openai.chat.body import AllowedToolsChoice, ChatBody, NamedTool
from mlxbuild.runtime.server.openai.chat.messages import conversation
from mlxbuild.runtime.server.openai.effort import thinking
from mlxbuild.runtime.server.openai.sampling import bound, given, with_seed


def chat_requests(body: ChatBody) -> list[ChatRequest]:
    """The requests to the model, one for each choice.

    Raises:
        InvalidRequest: a field is wrong; the error names it.
        NotSupported: the body asks for something that this server cannot do.
    """
    messages = conversation(body.messages)
    tools, choice = _tools(body)
    options = body.sampling() | given(
        max_tokens=bound(body.max_completion_tokens, body.max_tokens, body.n_predict),
        logprobs=body.logprobs or None,
        top_logprobs=body.top_logprobs if body.logprobs else None,
    )
    return [
        ChatRequest(
            messages=messages,
            tools=tools,
            tool_choice=choice,
            think=wanted_thinking(body)[0],
            template=body.chat_template,
            template_variables=body.template_variables(),
            prompt_ending=body.prompt_ending(body.messages[-1].role),
            format=body.answer_format(),
            options=with_seed(options, seed),
            context_tokens=body.context_tokens(),
            truncates=False,
        )
        for seed in body.seeds()
    ]


def wanted_thinking(body: ChatBody) -> tuple[bool | str | None, str]:
    """Thinking off, on or an effort, and the field that sets it; None leaves it to the model."""
    level = thinking(body.reasoning_effort, body.reasoning.effort if body.reasoning else None)
    return body.wanted_thinking() if level is None else (level, "reasoning_effort")


def _tools(body: ChatBody) -> tuple[tuple[TemplateTool, ...], ToolChoice]:
    tools = [tool.function.as_template_tool() for tool in body.tools or ()]
    several = body.parallel_tool_calls is not False
    match body.tool_choice:
        case NamedTool(function=function):
            return chosen(tools, mode="required", name=function.name, allows_several=several)
        case AllowedToolsChoice(allowed_tools=allowed):
            names = [each.tool_name("tool_choice") for each in allowed.tools]
            return chosen(tools, mode=allowed.mode, allowed=names, allows_several=several)
        case mode:
            return chosen(tools, mode=mode or "auto", allows_several=several)
