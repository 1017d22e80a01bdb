"""From a chat request to the prompt: defaults, chat template, and truncation of old messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.engine.input.defaults import Defaults
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.prompt import ChatTemplate, TemplateRefuses, check_conversation, with_arguments
from mlxbuild.runtime.protocol.requests import ChatRequest, Message


class NoChatTemplate(UserError):
    """A chat was requested from a model that has no chat template."""

    code = "no-chat-template"


class ToolsNotTaken(UserError):
    """Tools were given, but the model's chat template does not support them."""

    code = "tools-not-taken"


WITHOUT_TOOLS = "leave `tools` out, or use a model whose chat template supports tools"


class Conversation:
    """A chat request merged with the artifact's defaults, ready to be rendered by the chat template."""

    def __init__(
        self, request: ChatRequest, facts: ModelFacts, defaults: Defaults, template: ChatTemplate | None
    ) -> None:
        """Nothing is rendered yet.

        Raises:
            NoChatTemplate: neither the artifact nor the request has a template.
            ToolsNotTaken: there are tools, and the template does not support them.
            InvalidConversation: there are no messages, or one is not valid.
        """
        if request.template is not None:
            template = ChatTemplate(request.template, facts.special_tokens, file="template")
        if template is None:
            raise NoChatTemplate("the model has no chat template", hint="give it a raw prompt instead")
        self.tools = request.tools if request.tool_choice.mode != "none" else ()
        if self.tools and not (facts.takes_tools if request.template is None else "tools" in template.variables):
            raise ToolsNotTaken("the model's chat template has no place for tools", hint=WITHOUT_TOOLS)
        self._template = template
        self._variables: dict[str, Any] = {}
        if request.think is not None and facts.thinking_switch is not None:
            self._variables[facts.thinking_switch] = request.think is not False
        if isinstance(request.think, str):
            self._variables["reasoning_effort"] = request.think
        self._variables |= request.template_variables
        self._ending = request.prompt_ending
        self.messages = [
            with_arguments(message, as_text=facts.tool_arguments_as_text) for message in _whole(request, defaults)
        ]

    def render(self, messages: Sequence[Message] | None = None, *, opens_answer: bool = True, **variables: Any) -> str:
        """Render these messages, or all of them, into a prompt. Unless the request says otherwise, a last message of
        the assistant is left open, for the model to continue it.

        Raises:
            TemplateRefuses, TemplateBroken: the template does not accept the conversation.
        """
        whole = self.messages if messages is None else messages
        ends_unfinished = bool(whole) and whole[-1].get("role") == "assistant" and not whole[-1].get("tool_calls")
        continues = self._ending == "continued" or (self._ending is None and ends_unfinished)
        opens_answer = opens_answer and self._ending != "closed"
        return self._template.render(
            whole,
            self.tools or None,
            add_generation_prompt=opens_answer and not continues,
            continue_final_message=opens_answer and continues,
            **{**self._variables, **variables},
        )

    def with_other_ending(self) -> str:
        """The prompt with another text in the last message."""
        content = self.messages[-1].get("content")
        other = "." if str(content).startswith("*") else "*"
        return self.render([*self.messages[:-1], {**self.messages[-1], "content": other}])

    def shortened(self, fits: Callable[[str], bool]) -> str:
        """The prompt, without the oldest messages if necessary; system messages and the last message are always kept.

        The prompt of those alone may still not fit.

        Raises:
            TemplateRefuses, TemplateBroken: the template does not accept the conversation.
        """
        whole = self.render()
        droppable = [place for place, message in enumerate(self.messages[:-1]) if message.get("role") != "system"]
        if fits(whole) or not droppable:
            return whole
        found, low, high = None, 1, len(droppable)
        while low <= high:
            middle = (low + high) // 2
            rendered = self._without(droppable[:middle])
            if rendered is not None and fits(rendered):
                found, high = rendered, middle - 1
            else:
                low = middle + 1
        return found or self._without(droppable) or whole

    def _without(self, places: Sequence[int]) -> str | None:
        """The prompt without some messages; None if the template does not accept that conversation."""
        dropped = set(places)
        try:
            return self.render([message for place, message in enumerate(self.messages) if place not in dropped])
        except TemplateRefuses:  # some require user and assistant to alternate
            return None


def _whole(request: ChatRequest, defaults: Defaults) -> list[Message]:
    check_conversation(request.messages)
    given = list(request.messages)
    system = request.system
    if system is None and given and given[0].get("role") == "system":
        system = str(given.pop(0).get("content") or "")
    system = defaults.system_prompt if system is None else system
    opening: list[Message] = [{"role": "system", "content": system}] if system else []
    preceding = () if request.preceding_tokens else defaults.messages
    return [*opening, *preceding, *given]
