"""The fields for structured output of OpenAI's, vLLM's and llama.cpp's clients."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from mlxbuild.runtime.protocol.requests import AnswerFormat
from mlxbuild.runtime.server.bodies.json_body import parse_json
from mlxbuild.runtime.server.bodies.request_body import RequestBody, refused
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.openai.formats import JsonFormat, ResponseFormat, SchemaFormat, TextFormat

Text = Annotated[str, Field(min_length=1)]
Choices = Annotated[list[Text], Field(min_length=1)]
Schema = dict[str, Any] | Text
"""A JSON Schema as an object, or as a string with JSON."""


class StructuredOutputs(RequestBody):
    """vLLM's `structured_outputs`, of which one field may be set."""

    json_: Annotated[Schema | None, Field(alias="json")] = None
    json_object: bool | None = None
    regex: Text | None = None
    choice: Choices | None = None
    grammar: Text | None = None
    structural_tag: Annotated[None, refused("structural tags are not supported: use a grammar")] = None


class StructuredOutputsBody(RequestBody):
    """The fields for structured output that chat completions and completions share."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | None = None
    guided_regex: Text | None = None
    guided_choice: Choices | None = None
    guided_grammar: Text | None = None
    grammar: Text | None = None
    json_schema: Schema | None = None
    structural_tag: Annotated[None, refused("structural tags are not supported: use a grammar")] = None

    def answer_format(self) -> AnswerFormat | None:
        """The response format of the answer.

        Raises:
            InvalidRequest: more than one format is given, or a format cannot be parsed.
        """
        forms = self._forms()
        if len(forms) > 1:
            raise InvalidRequest(
                f"only one of {' and '.join(f'`{each}`' for each in forms)} can be given", where=forms[-1]
            )
        return self._format(forms[0]) if forms else None

    def form_field(self) -> str | None:
        """The field that sets a response format, if any."""
        return next(iter(self._forms()), None)

    def _forms(self) -> list[str]:
        nested = self.structured_outputs
        asks = self.response_format is not None and not isinstance(self.response_format, TextFormat)
        outer = [name for name in _READERS if "." not in name and getattr(self, name) is not None]
        inner = [name for name in _READERS if "." in name and nested is not None and _inner(nested, name)]
        return [*(("response_format",) if asks else ()), *outer, *inner]

    def _format(self, name: str) -> AnswerFormat:
        match self.response_format if name == "response_format" else None:
            case SchemaFormat(json_schema=named):
                return AnswerFormat(named.schema_)
            case JsonFormat(schema_=schema):
                return AnswerFormat(schema)
        value = _inner(self.structured_outputs, name) if "." in name else getattr(self, name)
        return _READERS[name](value, name)


def _inner(nested: StructuredOutputs | None, name: str) -> Any:
    field = name.removeprefix("structured_outputs.")
    return getattr(nested, "json_" if field == "json" else field)


def _of_schema(schema: dict[str, Any] | str, place: str) -> AnswerFormat:
    if isinstance(schema, str):
        try:
            schema = parse_json(schema)
        except (ValueError, RecursionError):
            schema = ""
    if not isinstance(schema, dict):
        raise InvalidRequest(f"`{place}` must be a JSON Schema, as an object or as its text", where=place)
    return AnswerFormat(schema)


def _of_object(_wanted: bool, _place: str) -> AnswerFormat:
    return AnswerFormat()


def _of_choices(choices: list[str], _place: str) -> AnswerFormat:
    return AnswerFormat(grammar="start: " + " | ".join(map(_literal, choices)))


def _of_regex(pattern: str, _place: str) -> AnswerFormat:
    return AnswerFormat(grammar=lark_of_regex(pattern))


def _of_grammar(grammar: str, _place: str) -> AnswerFormat:
    return AnswerFormat(grammar=grammar)


def lark_of_regex(pattern: str) -> str:
    """A Lark grammar of the texts that fully match a regular expression."""
    body = re.sub(r"(?<!\\)/", r"\\/", pattern.removeprefix("^"))
    body = body[:-1] if body.endswith("$") and not body.endswith("\\$") else body
    return f"start: /{body}/"


def _literal(text: str) -> str:
    from mlxbuild.runtime.engine.structured_output.grammar import literal

    return literal(text)


_READERS: dict[str, Callable[[Any, str], AnswerFormat]] = {
    "guided_json": _of_schema,
    "json_schema": _of_schema,
    "structured_outputs.json": _of_schema,
    "structured_outputs.json_object": _of_object,
    "guided_choice": _of_choices,
    "structured_outputs.choice": _of_choices,
    "guided_regex": _of_regex,
    "structured_outputs.regex": _of_regex,
    "guided_grammar": _of_grammar,
    "grammar": _of_grammar,
    "structured_outputs.grammar": _of_grammar,
}
