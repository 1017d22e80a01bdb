"""The forms that an answer can be asked to have, as chat completions and responses write them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from runtime.protocol.requests import AnswerFormat
from runtime.server.failures import InvalidRequest
from runtime.server.request_body import RequestBody, refused


class TextFormat(RequestBody):
    """Any text."""

    type: Literal["text"]


class JsonFormat(RequestBody):
    """Some JSON object, or what a schema allows, as llama.cpp's clients write it."""

    type: Literal["json_object"]
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class JsonSchema(RequestBody):
    """A schema with its name; it is held, `strict` or not."""

    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class SchemaFormat(RequestBody):
    """JSON that a schema allows."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")]


class FormattedBody(RequestBody):
    """The fields that ask for a form, in OpenAI's way and in llama.cpp's."""

    response_format: ResponseFormat | None = None
    json_schema: dict[str, Any] | None = None
    """llama.cpp's way to give a schema."""
    grammar: Annotated[None, refused("grammars (GBNF) are not taken: give a JSON Schema as `response_format`")] = None

    def answer_format(self) -> AnswerFormat | None:
        """What was asked for.

        Raises:
            InvalidRequest: two forms at once.
        """
        if self.json_schema is not None:
            if self.response_format is not None and self.response_format.type != "text":
                raise InvalidRequest("`json_schema` and `response_format` are two forms", where="json_schema")
            return AnswerFormat(self.json_schema)
        match self.response_format:
            case SchemaFormat(json_schema=named):
                return AnswerFormat(named.schema_)
            case JsonFormat(schema_=schema):
                return AnswerFormat(schema)
            case _:
                return None
