"""What can be asked of a loaded model, whichever API the question came through. Answers live in `events`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Message = Mapping[str, Any]
"""`role` and `content`, and what templates know besides: `tool_calls`, `reasoning_content`, `name`, ..."""


PromptEnding = Literal["opened", "continued", "closed"]
"""How a conversation ends in the prompt: an answer is opened, the last message goes on, or neither."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """A form that the answer must have, after any thinking. It is kept to, or the request is refused."""

    schema: Mapping[str, Any] | None = None
    """A JSON Schema; None for any JSON object."""
    grammar: str | None = None
    """In place of a schema: a Lark grammar of the whole text, `start` first."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which tools may be called."""

    mode: str = "auto"
    """`auto`, `none`, or `required`: at least one call."""
    name: str | None = None
    """The one tool that has to be called; goes with `required`."""
    allows_several: bool = True
    """Whether one answer may have more than one call."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Answer a conversation through the model's chat template."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    """Function schemas in OpenAI's form."""
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    text_grammars: Mapping[str, str] = field(default_factory=dict)
    """From the names of tools that take one text to the Lark grammars that those texts keep to, `start` first."""
    think: bool | str | None = None
    """On, off, or an effort (`low`, `medium`, `high`, `max`); None is the model's own way."""
    system: str | None = None
    """In place of the artifact's system prompt; None keeps it."""
    template: str | None = None
    """A Jinja template in place of the artifact's."""
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the template besides; they win over what `think` sets."""
    prompt_ending: PromptEnding | None = None
    """None continues a last message of the assistant, and opens an answer after any other."""
    preceding_tokens: tuple[int, ...] = ()
    """Tokens of an earlier exchange that go before the prompt; the artifact's own messages are left out then."""
    format: AnswerFormat | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Those of `runtime.engine.core.options.Options` that were given; the artifact's defaults hold for the rest."""
    context_tokens: int | None = None
    """A smaller context than the model's."""
    truncates: bool = True
    """Leave out the oldest messages when the conversation is longer than the context, instead of refusing it."""
    wants_tokens: bool = False
    """Whether the ending carries all tokens, for a later request's `preceding_tokens`."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Continue a raw text, without a template; nothing is split out of the answer."""

    prompt: str | tuple[int, ...]
    """A text, or token ids."""
    suffix: str | None = None
    """The text after the gap that is to be filled, for models that were trained to."""
    format: AnswerFormat | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    context_tokens: int | None = None
    truncates: bool = True
    wants_tokens: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Turn texts into vectors."""

    inputs: tuple[str | tuple[int, ...], ...]
    """Texts, or token ids."""
    dimensions: int | None = None
    """Keep the first numbers of each vector only, normalised again."""
    truncates: bool = True
    """Cut texts that are longer than the context, instead of refusing them."""
    normalizes: bool = True
    """Whether vectors are given length 1; some models do that themselves, whatever is asked."""


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """Only tell the prompt that a request would give the model; nothing is computed."""

    of: ChatRequest | CompletionRequest


Request = ChatRequest | CompletionRequest | EmbeddingRequest | PromptRequest
