"""Renders conversations into prompts with the model's chat template, which runs in `runtime.rendering`."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlxbuild.registry.core.errors import Location, UserError
from mlxbuild.runtime.model.files import TEMPLATE_FILE
from mlxbuild.runtime.rendering import standing
from mlxbuild.runtime.rendering.limits import Limits
from mlxbuild.runtime.rendering.messages import Failure, Request, TemplateFault

if TYPE_CHECKING:
    from mlxbuild.runtime.protocol.requests import Message

_FOLDER = Path(__file__).parent / "templates"
_REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTINUATION_MARK = "CONTINUE_FINAL_MESSAGE_TAG "


class TemplateBroken(UserError):
    """A chat template has a syntax error, or fails while it renders."""

    code = "template-broken"


class TemplateTooCostly(TemplateBroken):
    """A chat template takes more time, text or memory than a prompt may."""

    code = "template-too-costly"


class TemplateEscapes(UserError):
    """A chat template accesses something outside its sandbox."""

    code = "template-escapes"


class TemplateRefuses(UserError):
    """A chat template rejects a conversation: by `raise_exception`, or by omitting the message to continue."""

    code = "template-refuses"


class InvalidConversation(UserError):
    """A conversation is empty, or one of its messages is not valid."""

    code = "invalid-conversation"


class UnknownTemplate(UserError):
    """No named template has that name."""

    code = "unknown-template"


_LIMITS = Limits()


class ChatTemplate:
    """A compiled chat template. It renders as transformers' `apply_chat_template(tokenize=False)` does.

    `special_tokens` (`bos_token`, `eos_token`, ...) are variables of the template; `clock` is used by its
    `strftime_now`.
    """

    def __init__(
        self,
        text: str,
        special_tokens: Mapping[str, str] | None = None,
        *,
        clock: Callable[[], datetime] = datetime.now,
        file: str = TEMPLATE_FILE,
        limits: Limits = _LIMITS,
    ) -> None:
        """Compile the template.

        Raises:
            TemplateBroken: a syntax error, with its line.
            TemplateEscapes: it names Python internals, even where they are not reached.
            TemplateTooCostly: compiling it takes too long.
            RendererLost: this machine cannot start a renderer process.
        """
        self.text = text
        self.special_tokens = dict(special_tokens or {})
        self._clock = clock
        self._file = file
        self._limits = limits
        self.variables = frozenset(self._asked(Request(text, limits)))
        """The names that the template reads without setting them."""

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        **variables: Any,
    ) -> str:
        """Render the prompt. Encode it without adding special tokens, as the template writes them.

        `continue_final_message` leaves the last message open, so that the model continues it.

        Raises:
            InvalidConversation: there are no messages, or one without a role.
            TemplateRefuses: the template does not accept this conversation.
            TemplateBroken: it failed, or wrote invalid Unicode.
            TemplateTooCostly: it takes too long, or exceeds the limits of loops or size.
            TemplateEscapes: it accessed something outside its sandbox.
            RendererLost: this machine cannot start a renderer process.
        """
        check_conversation(messages)
        try:
            conversation = [_message(message) for message in messages]
            extra = {"tools": _plain(list(tools)) if tools else None, **_plain(variables)}
        except RecursionError:
            raise InvalidConversation("the conversation nests too deeply") from None
        if continue_final_message:
            add_generation_prompt = False
            _mark_end(conversation)
        given = {
            **self.special_tokens,
            "messages": conversation,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **extra,
        }
        rendered = str(self._asked(Request(self.text, self._limits, given, self._clock())))
        if _SURROGATE.search(rendered):
            raise TemplateBroken(
                "the chat template writes half of a surrogate pair, which is not a character",
                where=Location(self._file),
            )
        return _cut_at_mark(rendered) if continue_final_message else rendered

    def _asked(self, request: Request) -> str | list[str]:
        try:
            return standing.ask(request)
        except Failure as failure:
            raise _error(failure, Location(self._file, failure.line)) from None
        except ValueError as error:
            raise InvalidConversation(f"the conversation cannot be rendered: {error}") from None


def _error(failure: Failure, where: Location) -> UserError:
    match failure.fault:
        case TemplateFault.REFUSES:
            return TemplateRefuses(f"the chat template refuses this conversation: {failure.message}", where=where)
        case TemplateFault.ESCAPES:
            return TemplateEscapes(
                failure.message,
                where=where,
                hint="use a template that only reads its messages and writes text",
            )
        case TemplateFault.COSTLY:
            return TemplateTooCostly(
                failure.message,
                where=where,
                hint="use a template that goes over its messages once, and builds no long texts or numbers on the way",
            )
        case TemplateFault.BROKEN:
            return TemplateBroken(failure.message, where=where)


@functools.cache
def template_names() -> tuple[str, ...]:
    """Names of the templates that are included in mlxbuild."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.jinja")))


def named(name: str) -> str:
    """The text of a named template.

    Raises:
        UnknownTemplate: there is none of that name; the hint lists them.
    """
    if name not in template_names():
        raise UnknownTemplate(f"no template is named `{name}`", hint=f"there are: {', '.join(template_names())}")
    return (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def check_conversation(messages: Sequence[Message]) -> None:
    """Check that there are messages and each has a role.

    Raises:
        InvalidConversation: there are none, or one has no role; counted from 1.
    """
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidConversation(f"message {number} has no role", hint="write role and content")
    if not messages:
        raise InvalidConversation("the conversation has no messages")


def with_arguments(message: Message, *, as_text: bool) -> Message:
    """The message with the arguments of its tool calls as JSON text or as objects, as the template expects."""
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [_call_with(call, as_text) for call in calls]} if calls else message


def _call_with(call: Mapping[str, Any], as_text: bool) -> dict[str, Any]:
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _call_with(call["function"], as_text)}
    arguments = call.get("arguments")
    if as_text and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    elif not as_text and isinstance(arguments, str):
        arguments = _as_object(arguments)
    return {**call, "arguments": arguments}


def _as_object(text: str) -> Any:
    """The arguments as an object; text that is not an object becomes its only value."""
    with suppress(ValueError, RecursionError):
        arguments = json.loads(text or "{}")
        if isinstance(arguments, dict):
            return arguments
    return {"arguments": text}


def _message(message: Message) -> dict[str, Any]:
    """A message as transformers passes it: plain data without None, and reasoning under each name in use."""
    plain: dict[str, Any] = _plain({key: value for key, value in message.items() if value is not None})
    reasoning = next((plain[field] for field in _REASONING_FIELDS if field in plain), None)
    if reasoning is not None:
        plain = {"thinking": reasoning, **plain, "reasoning_content": reasoning}
    return plain


def _plain(value: Any) -> Any:
    """A copy made of JSON types only, as templates must not call methods of other objects."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return f"<{type(value).__name__}>"


def _mark_end(conversation: list[dict[str, Any]]) -> None:
    content = conversation[-1].get("content") if conversation else None
    if isinstance(content, str):
        conversation[-1]["content"] = content + _CONTINUATION_MARK
        return
    for part in reversed(content or []):
        if "text" in part:
            part["text"] += _CONTINUATION_MARK
            return
    raise InvalidConversation("there is no final message with text to continue")


def _cut_at_mark(rendered: str) -> str:
    end = rendered.rfind(_CONTINUATION_MARK.strip())
    if end < 0:
        raise TemplateRefuses("the chat template leaves out the final message, so it cannot be continued")
    if rendered.startswith(_CONTINUATION_MARK, end):
        return rendered[:end]
    return rendered[:end].rstrip()
