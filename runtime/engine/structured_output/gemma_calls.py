"""Grammars of tool calls of Gemma's models: `call:name{key:value,...}`, with their own quotation marks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.grammar import GrammarVocabulary, literal
from mlxbuild.runtime.engine.structured_output.tool_call_parts import (
    ANNOTATIONS,
    arguments_of,
    containing,
    document,
    plain,
    separated,
    text_until,
)

_WORD = r"\w+"
_SCALARS = ("integer", "number", "boolean", "null")
_TYPES = ("string", *_SCALARS, "array", "object")


def gemma4(vocabulary: GrammarVocabulary, rule: str, name: str, parameters: Mapping[str, Any]) -> list[str]:
    """Gemma 4's format, in which values may be arrays and objects."""
    values = _Values(vocabulary, rule, parameters, quote='<|"|>', never=(containing("\0"),), is_nested=True)
    return [f"{rule}: {vocabulary.marker(f'call:{plain(name)}')} {values.of_object(parameters)}", *values.rules]


def function_gemma(vocabulary: GrammarVocabulary, rule: str, name: str, parameters: Mapping[str, Any]) -> list[str]:
    """FunctionGemma's format, in which values are scalars and strings have no closing brace."""
    values = _Values(vocabulary, rule, parameters, quote="<escape>", never=(containing("}"),), is_nested=False)
    return [f"{rule}: {vocabulary.marker(f'call:{plain(name, _WORD)}')} {values.of_object(parameters)}", *values.rules]


class _Values:
    """The rules of one call's values, with the name of the call as prefix."""

    def __init__(
        self,
        vocabulary: GrammarVocabulary,
        prefix: str,
        root: Mapping[str, Any],
        *,
        quote: str,
        never: tuple[str, ...],
        is_nested: bool,
    ) -> None:
        """`quote` encloses strings, and `never` are regular expressions of strings that would be parsed wrongly."""
        document(vocabulary, prefix, root)  # reports an invalid schema first
        self.rules: list[str] = []
        self._vocabulary = vocabulary
        self._prefix = prefix
        self._root = root
        self._quote = quote
        self._never = (*never, containing(vocabulary.call_end)) if vocabulary.call_end else never
        self._is_nested = is_nested
        self._references: dict[str, str] = {}

    def of_object(self, schema: Mapping[str, Any]) -> str:
        """An expression for an object."""
        items = []
        for argument in arguments_of(schema):
            item = self._new(f"{literal(plain(argument.name, _WORD) + ':')} {self._of(argument.schema)}")
            items.append((item, argument.is_required))
        inside, rules = separated(f"{self._prefix}_o{len(self.rules)}", items, literal(","))
        self.rules += rules
        return f"{literal('{')} {inside} {literal('}')}"

    def _new(self, expression: str) -> str:
        """Add a rule and return its name."""
        name = f"{self._prefix}_v{len(self.rules)}"
        self.rules.append(f"{name}: {expression}")
        return name

    def _of(self, schema: Any) -> str:
        """An expression for any value of a schema.

        Raises:
            FormatNotSupported: the schema is not supported in this format.
        """
        if not isinstance(schema, Mapping):
            raise FormatNotSupported("a value of a tool needs a `type` in this model's tool call format")
        if "$ref" in schema:
            self._allow(schema, "$ref")
            return self._of_reference(schema["$ref"])
        if "const" in schema or "enum" in schema:
            self._allow(schema, "const", "enum", "type")
            return self._of_list([schema["const"]] if "const" in schema else schema["enum"], schema.get("type", _TYPES))
        if "anyOf" in schema:
            self._allow(schema, "anyOf")
            return self._one_of([self._of(each) for each in schema["anyOf"]])
        kinds = schema.get("type")
        if not isinstance(kinds, str):
            if not kinds:
                raise FormatNotSupported("a value of a tool needs a `type` in this model's tool call format")
            return self._one_of([self._of({**schema, "type": kind}) for kind in kinds])
        if kinds == "string":
            self._allow(schema, "type")
            return f"{self._vocabulary.marker(self._quote)} {self._text()}"
        if kinds in _SCALARS:
            name = f"{self._prefix}_v{len(self.rules)}"
            self.rules.append(document(self._vocabulary, name, schema))
            return name
        if not self._is_nested:
            raise FormatNotSupported("this model's tool call format has no arrays and objects as values")
        return self._new(self.of_object(schema)) if kinds == "object" else self._of_array(schema)

    def _text(self) -> str:
        text, rules = text_until(self._vocabulary, f"{self._prefix}_text", self._quote, never=self._never)
        self.rules += [rule for rule in rules if rule not in self.rules]
        return text

    def _of_array(self, schema: Mapping[str, Any]) -> str:
        self._allow(schema, "type", "items", "minItems", "maxItems")
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return literal("[]")
        item = self._new(self._of(schema.get("items")))
        more = f"({literal(',')} {item}){{{max(0, least - 1)},{'' if most is None else most - 1}}}"
        return f"{literal('[')} ({item} {more}){'' if least else '?'} {literal(']')}"

    def _of_list(self, values: list[Any], kinds: str | list[str]) -> str:
        fitting = Draft202012Validator({"type": kinds if isinstance(kinds, str) else list(kinds)})
        return self._one_of([self._written(value) for value in values if fitting.is_valid(value)])

    def _written(self, value: Any) -> str:
        if isinstance(value, list | dict):
            raise FormatNotSupported(
                "an `enum` of a tool cannot have arrays and objects in this model's tool call format"
            )
        if not isinstance(value, str):
            return literal(json.dumps(value))
        unwritable = (self._quote, "\0", "" if self._is_nested else "}", self._vocabulary.call_end)
        if any(each and each in value for each in unwritable):
            raise FormatNotSupported(f"the text {value!r} of a tool cannot be written in this model's tool call format")
        return self._vocabulary.marker(f"{self._quote}{value}{self._quote}")

    def _of_reference(self, reference: str) -> str:
        """The rule of a referenced schema, which may be recursive."""
        if reference not in self._references:
            part: Any = self._root
            for step in reference.removeprefix("#").split("/")[1:]:
                part = part[step.replace("~1", "/").replace("~0", "~")]
            name = self._references[reference] = f"{self._prefix}_r{len(self._references)}"
            self.rules.append(f"{name}: {self._of(part)}")
        return self._references[reference]

    def _one_of(self, expressions: list[str]) -> str:
        if not expressions:
            raise FormatNotSupported("no value is valid for a parameter of a tool")
        return f"({' | '.join(expressions)})"

    def _allow(self, schema: Mapping[str, Any], *keywords: str) -> None:
        if strange := [keyword for keyword in schema if keyword not in ANNOTATIONS and keyword not in keywords]:
            raise FormatNotSupported(
                f"`{strange[0]}` of a tool's value is not supported in this model's tool call format"
            )
