"""Tests chat templates with golden conversations when a model is built, and derives facts from the results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlxbuild.runtime.model.prompt import ChatTemplate, TemplateBroken, TemplateRefuses, with_arguments

if TYPE_CHECKING:
    from mlxbuild.runtime.protocol.requests import Message

TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Name of the city"}},
            "required": ["city"],
        },
    },
}
_CALL = {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
_QUESTION = {"role": "user", "content": "Name a prime number."}
_ANSWER = {"role": "assistant", "content": "Seven is one."}
_NEXT = {"role": "user", "content": "And a larger one?"}


@dataclass(frozen=True, slots=True)
class GoldenConversation:
    """A kind of conversation."""

    name: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] | None = None


PLAIN = GoldenConversation("turns", (_QUESTION, _ANSWER, _NEXT, {"role": "assistant", "content": "Eleven."}, _QUESTION))
SYSTEM = GoldenConversation(
    "system prompt", ({"role": "system", "content": "Answer shortly."}, _QUESTION, _ANSWER, _NEXT)
)
TOOLS = GoldenConversation(
    "tool call",
    (
        {"role": "user", "content": "How is the weather in Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": [_CALL]},
        {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": '{"celsius": 4}'},
        {"role": "assistant", "content": "It has four degrees."},
        _NEXT,
    ),
    (TOOL,),
)
REASONING = GoldenConversation(
    "thinking", (_QUESTION, {**_ANSWER, "reasoning_content": "Two, three, five, seven."}, _NEXT)
)


def try_template(template: ChatTemplate) -> None:
    """Render conversations that every template must accept, and others that it may refuse but must not fail on.

    Raises:
        TemplateBroken, TemplateEscapes: rendering failed; the message names the line.
        TemplateRefuses: it refuses even a single question.
    """
    question(template)
    for case in (PLAIN, SYSTEM):
        for prompt in _asked(case):
            _rendered(template, prompt)
    _rendered(template, PLAIN.messages[:2], continue_final_message=True)


def question(template: ChatTemplate, **variables: Any) -> str:
    """The prompt for a single question."""
    return template.render([_QUESTION], **variables)


def tool_arguments(template: ChatTemplate, *, strict: bool) -> Literal["object", "text"] | None:
    """The form in which the template expects arguments of earlier tool calls; None if it does not support tools.

    Raises:
        TemplateBroken: with `strict`, if the template lists tools but fails on a call in either form.
    """
    broken: TemplateBroken | None = None
    forms: tuple[tuple[Literal["object", "text"], Sequence[Message]], ...]
    forms = (("object", TOOLS.messages), ("text", _as_text(TOOLS.messages)))
    for form, messages in forms if "tools" in template.variables else ():
        try:
            rendered = _rendered(template, messages, TOOLS.tools)
        except TemplateBroken as error:
            broken = error
            continue
        if rendered is not None and "{'city'" not in rendered:
            return form
    if strict and broken is not None:
        raise broken
    return None


def bare_call_key(template: ChatTemplate, arguments: Literal["object", "text"] | None) -> str | None:
    """The key for arguments if the template renders a tool call as bare JSON: `{"name": ..., KEY: ...}`; else None.

    Llama 3 does so, with the key `parameters`.
    """
    if arguments is None:
        return None
    messages = _as_text(TOOLS.messages) if arguments == "text" else TOOLS.messages
    asked = _rendered(template, messages[:1], TOOLS.tools)
    called = _rendered(template, messages[:2], TOOLS.tools, add_generation_prompt=False)
    if asked is None or called is None or not called.startswith(asked):
        return None
    try:
        call, _ = json.JSONDecoder().raw_decode(called[len(asked) :].lstrip())
    except ValueError:
        return None
    function = _CALL["function"]
    assert isinstance(function, dict)
    if not isinstance(call, dict) or call.pop("name", None) != function["name"] or len(call) != 1:
        return None
    key, value = call.popitem()
    return key if value == function["arguments"] else None


def first_rewritten(
    template: ChatTemplate, switch: str | None, arguments: Literal["object", "text"] | None
) -> str | None:
    """The first case in which the prompt of a longer conversation does not start with that of the shorter one.

    Such a conversation is prefilled anew with every turn. Cases that the template refuses do not count.
    """
    settings: list[dict[str, Any]] = [{}] if switch is None else [{}, {switch: True}, {switch: False}]
    for case in _cases(template, arguments):
        for setting in settings:
            if case is REASONING and False in setting.values():
                continue  # with thinking off, there is no reasoning to keep
            if not _appends(template, case, setting):
                state = "".join(f", thinking {'on' if on else 'off'}" for on in setting.values())
                return case.name + state
    return None


def after_answer(template: ChatTemplate) -> str:
    """The text that the template renders right after an answer: the end of the turn."""
    rendered = template.render([_QUESTION, _ANSWER], add_generation_prompt=False)
    return rendered[rendered.rfind(_ANSWER["content"]) + len(_ANSWER["content"]) :]


def _cases(template: ChatTemplate, arguments: Literal["object", "text"] | None) -> Iterator[GoldenConversation]:
    yield PLAIN
    yield SYSTEM
    if arguments is not None:
        messages = _as_text(TOOLS.messages) if arguments == "text" else TOOLS.messages
        yield GoldenConversation(TOOLS.name, tuple(messages), TOOLS.tools)
    if "reasoning_content" in template.text or "thinking" in template.text:
        yield REASONING


def _appends(template: ChatTemplate, case: GoldenConversation, setting: Mapping[str, Any]) -> bool:
    asked = list(_asked(case))
    prompts = [_rendered(template, messages, case.tools, **setting) for messages in asked]
    for number in range(len(prompts) - 1):
        shorter, longer = prompts[number], prompts[number + 1]
        if shorter is None or longer is None:
            continue
        reasoning = asked[number + 1][len(asked[number])].get("reasoning_content", "")
        if not longer.startswith(shorter) or reasoning not in longer[len(shorter) :]:
            return False
    return True


def _asked(case: GoldenConversation) -> Iterator[Sequence[Message]]:
    """The conversation at every point where the model has to answer."""
    for length in range(1, len(case.messages) + 1):
        if length == len(case.messages) or case.messages[length]["role"] == "assistant":
            yield case.messages[:length]


def _rendered(
    template: ChatTemplate,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None = None,
    **variables: Any,
) -> str | None:
    try:
        return template.render(messages, tools, **variables)
    except TemplateRefuses:
        return None


def _as_text(messages: Sequence[Message]) -> list[Message]:
    return [with_arguments(message, as_text=True) for message in messages]
