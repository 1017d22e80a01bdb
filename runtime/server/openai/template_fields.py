"""The fields for the chat template and for thinking, as clients of vLLM, SGLang and others name them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mlxbuild.runtime.protocol.requests import PromptEnding
from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.inference.template_variables import TemplateVariables, switched_off


class ThinkingSwitch(RequestBody):
    """The thinking switch of DeepSeek's, GLM's and Anthropic's clients."""

    type: Literal["enabled", "disabled", "adaptive", "auto"]


class ThinkingBody(RequestBody):
    """The fields for thinking that chat completions and responses share."""

    chat_template_kwargs: TemplateVariables | None = None
    """Variables of the chat template."""
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    enable_thinking: bool | None = None
    thinking: ThinkingSwitch | bool | None = None

    def wanted_thinking(self) -> tuple[bool | str | None, str]:
        """Thinking on, off, an effort, or None to leave it to the model, and the field that sets it."""
        if self.think is not None:
            return self.think, "think"
        if self.enable_thinking is not None:
            return self.enable_thinking, "enable_thinking"
        if isinstance(self.thinking, bool):
            return self.thinking, "thinking"
        if self.thinking is not None and self.thinking.type in ("enabled", "disabled"):
            return self.thinking.type == "enabled", "thinking"
        return switched_off(self.chat_template_kwargs), "chat_template_kwargs"


class TemplateBody(ThinkingBody):
    """Further fields of chat completions for the chat template."""

    chat_template: Annotated[str, Field(min_length=1)] | None = None
    """A Jinja template that replaces the model's."""
    documents: list[dict[str, Any]] | None = None
    """Documents for templates that support them."""
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    def template_variables(self) -> dict[str, Any]:
        """The template variables that the request sets."""
        documents = {} if self.documents is None else {"documents": self.documents}
        return {**(self.chat_template_kwargs or {}), **documents}

    def prompt_ending(self, last_role: str) -> PromptEnding | None:
        """How the conversation ends in the prompt; None if the request does not say.

        Raises:
            InvalidRequest: both fields are set, or the message to continue is not the assistant's.
        """
        if self.continue_final_message:
            if self.add_generation_prompt:
                raise InvalidRequest(
                    "`continue_final_message` and `add_generation_prompt` exclude each other",
                    where="continue_final_message",
                )
            if last_role != "assistant":
                raise InvalidRequest(
                    "`continue_final_message` needs a last message of the assistant", where="continue_final_message"
                )
            return "continued"
        if self.add_generation_prompt is False:
            return "closed"
        asked = self.add_generation_prompt is not None or self.continue_final_message is not None
        return "opened" if asked else None
