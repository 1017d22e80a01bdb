"""The chat settings of a recipe: template, system prompt, messages and sampling defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field

from mlxbuild.toolchain.spec.written.form import TAG_MARK, Choice, Form, Items, NonEmpty, TextFile, arm

TemplateName = Literal["chatml", "gemma", "llama3", "mistral"]


class NamedTemplateForm(Form):
    """A chat template that comes with mlxbuild."""

    named: TemplateName = Field(description="Name of a chat template.")


class FileForm(Form):
    """A text in a file."""

    file: TextFile = Field(description="File, relative to the recipe.")


class InlineForm(Form):
    """A text in the recipe itself."""

    inline: str = Field(description="The text itself.")


_TEMPLATE = Choice(
    "named",
    "file",
    "inline",
    of="`prompt_template`",
    example="write prompt_template: inherit, {named: chatml}, {file: chat.jinja} or {inline: ...}",
    text=True,
)

PromptTemplateForm = Annotated[
    Annotated[
        Annotated[Literal["inherit"], arm("text")]
        | Annotated[NamedTemplateForm, arm("named")]
        | Annotated[FileForm, arm("file")]
        | Annotated[InlineForm, arm("inline")],
        Discriminator(_TEMPLATE.arm_of),
    ],
    BeforeValidator(_TEMPLATE.check),
]


def _text_or_file(value: Any) -> str:
    return TAG_MARK + ("file" if isinstance(value, Mapping | Form) else "text")


TextOrFile = Annotated[Annotated[str, arm("text")] | Annotated[FileForm, arm("file")], Discriminator(_text_or_file)]


class DefaultsForm(Form):
    """Sampling parameters for requests that do not set them."""

    temperature: float | None = Field(None, ge=0, le=10, description="0 always takes the most likely token.")
    top_p: float | None = Field(
        None, gt=0, le=1, description="Keep the smallest set of tokens with this total probability."
    )
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="Keep this many tokens; 0 keeps all.")
    min_p: float | None = Field(
        None, ge=0, le=1, description="Drop tokens less likely than this fraction of the most likely one."
    )
    max_tokens: int | None = Field(None, ge=1, le=10_000_000, description="Longest answer, in tokens.")
    stops: Items[NonEmpty] | None = Field(None, description="Texts that end an answer.")
    context: int | None = Field(None, ge=1, le=100_000_000, description="Context window, in tokens.")
    repeat_penalty: float | None = Field(None, gt=0, le=10, description="Above 1 discourages repetition.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Makes sampling repeatable.")


class MessageForm(Form):
    """A message at the start of every chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class ConversationMessageForm(Form):
    """A message in a gate's conversation, with tool calls and reasoning."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: Items[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None
