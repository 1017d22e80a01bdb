"""The requests that a loaded model answers, independent of any HTTP API; the answers are in `events`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Message = Mapping[str, Any]
"""A message: `role`, `content` and other keys that templates read: `tool_calls`, `reasoning_content`, `name`, ..."""


PromptEnding = Literal["opened", "continued", "closed"]
"""How the prompt ends: with the start of a new answer, with the last message left open, or with neither."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The response format of the answer, after any thinking. It is enforced, or the request is refused."""

    schema: Mapping[str, Any] | None = None
    """A JSON Schema; None for any JSON object."""
    grammar: str | None = None
    """In place of a schema: a grammar of the whole text, in Lark (first rule `start`) or GBNF (first rule `root`)."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which tools may be called."""

    mode: str = "auto"
    """`auto`, `none`, or `required`: at least one call."""
    name: str | None = None
    """The one tool that has to be called; used with `required`."""
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
    """Lark grammars by the name of the tool whose one text argument they constrain; their first rule is `start`."""
    think: bool | str | None = None
    """Thinking on, off, or an effort (`low`, `medium`, `high`, `max`); None leaves it to the model's template."""
    system: str | None = None
    """A system prompt that replaces the artifact's; None keeps that."""
    template: str | None = None
    """A Jinja template that replaces the artifact's."""
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    """Further template variables; they take precedence over what `think` sets."""
    prompt_ending: PromptEnding | None = None
    """None continues the last message if it is the assistant's, and opens a new answer otherwise."""
    preceding_tokens: tuple[int, ...] = ()
    """Tokens of earlier turns that are put before the prompt; the artifact's own messages are then left out."""
    format: AnswerFormat | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """The given fields of `runtime.engine.core.options.Options`; the artifact's defaults apply to the rest."""
    context_tokens: int | None = None
    """A smaller context than the model's."""
    truncates: bool = True
    """Leave out the oldest messages when the conversation is longer than the context, instead of refusing it."""
    wants_tokens: bool = False
    """Whether `GenerationFinished` carries all tokens, for a later request's `preceding_tokens`."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Continue a raw prompt without a chat template; thinking and tool calls are not parsed out of the answer."""

    prompt: str | tuple[int, ...]
    """A text, or token ids."""
    suffix: str | None = None
    """The text after the gap, for models that were trained to fill in the middle."""
    format: AnswerFormat | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    context_tokens: int | None = None
    truncates: bool = True
    wants_tokens: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Compute the embeddings of texts."""

    inputs: tuple[str | tuple[int, ...], ...]
    """Texts, or token ids."""
    dimensions: int | None = None
    """Cut each vector to its first `dimensions` numbers, and normalize it again."""
    truncates: bool = True
    """Cut texts that are longer than the context, instead of refusing them."""
    normalizes: bool = True
    """Whether vectors are normalized to length 1; some models always do that themselves."""


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """Return the prompt that a request would give the model, without running the model."""

    of: ChatRequest | CompletionRequest


Request = ChatRequest | CompletionRequest | EmbeddingRequest | PromptRequest
