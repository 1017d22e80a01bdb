"""The forms that an answer can be asked to have, as chat completions and responses write them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from runtime.server.request_body import RequestBody


class TextFormat(RequestBody):
    """Any text."""

    type: Literal["text"]


class JsonFormat(RequestBody):
    """Some JSON object."""

    type: Literal["json_object"]


class JsonSchema(RequestBody):
    """A schema with its name; it is held, `strict` or not."""

    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None
