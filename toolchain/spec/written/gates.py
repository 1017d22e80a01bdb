"""The tests of a recipe: a list of maps, each with exactly one kind of gate."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Discriminator, Field, model_validator

from mlxbuild.registry.core.sizes import UNITS
from mlxbuild.toolchain.core.patterns import PatternRefused, check
from mlxbuild.toolchain.spec.problems import Code
from mlxbuild.toolchain.spec.written.chat import ConversationMessageForm, InlineForm
from mlxbuild.toolchain.spec.written.form import (
    TAG_MARK,
    Choice,
    Form,
    Items,
    NonEmpty,
    TextFile,
    arm,
    mistake,
    pattern,
)

GateName = Annotated[
    str, pattern(r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,62}$", "expected letters, digits, spaces, `.`, `_` and `-`")
]


def _with_unit(example: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, int | float):
            raise mistake(Code.TYPE, f"`{value}` has no unit", note="a bare number", hint=f"write {example}")
        return value

    return BeforeValidator(check)


_SIZE = f"a number and a unit ({UNITS}), such as 450MiB"
Size = Annotated[
    str,
    pattern(r"^[0-9]{1,15}(\.[0-9]{1,6})? ?([KkMmGgTt][Ii]?[Bb]?|[Bb])$", f"expected {_SIZE}"),
    _with_unit(_SIZE),
]
Percent = Annotated[
    str,
    pattern(r"^[0-9]{1,4}(\.[0-9]{1,6})? ?%$", "expected a percentage, such as 5%"),
    _with_unit("a percentage, such as 5%"),
]
Tools = Items[dict[str, Any]]


def _check_regex(written: str) -> str:
    try:
        check(written)
    except PatternRefused as error:
        raise mistake(Code.REGEX, f"not a regular expression of RE2: {error}", note="RE2 does not take it") from None
    return written


class ContentsForm(Form):
    """Requirements for the artifact's files."""

    require: Items[NonEmpty] | None = Field(None, description="Globs that must each match a file.")
    forbid: Items[NonEmpty] | None = Field(None, description="Globs that must match no file.")
    strict: bool | None = Field(None, description="Whether files that `require` does not match are an error.")


class TemplateForm(Form):
    """The prompt that the chat template must render."""

    messages: Annotated[Items[ConversationMessageForm], Field(min_length=1)]
    tools: Tools | None = None
    golden: Annotated[
        Annotated[TextFile, arm("text")] | Annotated[InlineForm, arm("inline")],
        Discriminator(lambda value: TAG_MARK + ("inline" if isinstance(value, dict | Form) else "text")),
    ] = Field(description="The exact prompt: a file, or {inline: ...}.")


class TokensForm(Form):
    """The token ids that a text must have."""

    text: str
    ids: Items[Annotated[int, Field(ge=0)]]


_EXPECTATION = Choice(
    "contains",
    "regex",
    "json_schema",
    "equals",
    of="`expect`",
    example="write expect: {contains: text}",
)


class ExpectForm(Form):
    """The expected answer: exactly one of these."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    contains: NonEmpty | None = Field(None, description="A text that the answer must contain.")
    regex: Annotated[str, AfterValidator(_check_regex)] | None = Field(
        None, description="A regular expression (RE2) that must match in the answer."
    )
    json_schema: dict[str, Any] | None = Field(None, description="A JSON Schema that the answer must match.")
    equals: str | None = Field(None, description="The exact answer, without surrounding space.")

    @model_validator(mode="after")
    def _not_null(self) -> Self:
        if all(value is None for _, value in self):
            raise mistake(Code.CHOICE, "`expect` expects nothing", note="its value is null", hint=_EXPECTATION.example)
        return self


class CompleteForm(Form):
    """A request to the model, and the expected answer."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["prompt"]}, {"required": ["messages"]}]})

    prompt: NonEmpty | None = Field(None, description="Raw prompt, without the chat template.")
    messages: Annotated[Items[ConversationMessageForm], Field(min_length=1)] | None = None
    expect: Annotated[ExpectForm, BeforeValidator(_EXPECTATION.check)]
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = Field(None, description="Default 128.")
    temperature: Annotated[float, Field(ge=0, le=10)] | None = Field(None, description="Default 0.")
    tools: Tools | None = None
    think: bool | None = Field(None, description="Whether the model is asked to think.")
    system: str | None = Field(None, description="System prompt, instead of the artifact's own.")

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            both = self.prompt is not None
            raise mistake(
                Code.CHOICE,
                f"`complete` has {'both' if both else 'neither'} `prompt` {'and' if both else 'nor'} `messages`",
                note="needs exactly one of them",
                key="messages" if both else None,
            )
        for key in ("tools", "think", "system"):
            if self.prompt is not None and getattr(self, key) is not None:
                raise mistake(
                    Code.CHOICE,
                    f"`{key}` does not go with `prompt`",
                    note="only the chat template uses it",
                    hint="write messages: [{role: user, content: ...}] instead of `prompt`",
                    key=key,
                )
        return self


class PerplexityForm(Form):
    """The largest perplexity that a text may have."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["max"]}, {"required": ["max_increase_vs_base"]}]}
    )

    dataset: TextFile = Field(description="Text file, relative to the recipe.")
    max: Annotated[float, Field(ge=1)] | None = Field(None, description="Highest perplexity.")
    max_increase_vs_base: Percent | None = Field(None, description="Highest increase over the unquantized base.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.max is None and self.max_increase_vs_base is None:
            raise mistake(
                Code.CHOICE,
                "`perplexity` has no bound",
                note="needs `max` or `max_increase_vs_base`",
                hint='write max: 14.2, or max_increase_vs_base: "5%"',
            )
        return self


class SizeForm(Form):
    """The largest size that the artifact may have."""

    max: Size = Field(description="Largest sum of its files.", examples=["450MiB"])


class GateForm(Form):
    """Settings of every gate."""

    name: GateName | None = Field(None, description="Name in reports; default the kind, numbered.")
    only: Annotated[Items[NonEmpty], Field(min_length=1)] | None = Field(
        None, description="Labels of the variants that are tested; default all."
    )


class ContentsGate(GateForm):
    """A test of the artifact's files."""

    contents: ContentsForm


class TemplateGate(GateForm):
    """A test of the rendered prompt."""

    template: TemplateForm


class TokensGate(GateForm):
    """A test of the token ids of a text."""

    tokens: TokensForm


class CompleteGate(GateForm):
    """A test of the model's answer."""

    complete: CompleteForm


class PerplexityGate(GateForm):
    """A test of the model's perplexity."""

    perplexity: PerplexityForm


class SizeGate(GateForm):
    """A test of the artifact's size."""

    size: SizeForm


_GATE = Choice(
    "contents",
    "template",
    "tokens",
    "complete",
    "perplexity",
    "size",
    of="a test",
    example="write - contents: {require: [config.json]}",
    beside=("name", "only"),
)

AnyGate = Annotated[
    Annotated[
        Annotated[ContentsGate, arm("contents")]
        | Annotated[TemplateGate, arm("template")]
        | Annotated[TokensGate, arm("tokens")]
        | Annotated[CompleteGate, arm("complete")]
        | Annotated[PerplexityGate, arm("perplexity")]
        | Annotated[SizeGate, arm("size")],
        Discriminator(_GATE.arm_of),
    ],
    BeforeValidator(_GATE.check),
]
