"""The response formats of chat completions and responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mlxbuild.runtime.server.bodies.request_body import RequestBody


class TextFormat(RequestBody):
    """The response format for any text."""

    type: Literal["text"]


class JsonFormat(RequestBody):
    """The response format for any JSON object, or for a schema in llama.cpp's syntax."""

    type: Literal["json_object"]
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class JsonSchema(RequestBody):
    """A JSON Schema with a name; it is enforced, `strict` or not."""

    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class SchemaFormat(RequestBody):
    """The response format for a JSON Schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")]
