"""Grammars of what stands between the markers of one tool call, a form each. Which of them is used: `tool_forms`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.engine import json_schema
from runtime.engine.grammar import GrammarVocabulary, literal
from runtime.engine.json_schema import FormatNotSupported

Body = Callable[[GrammarVocabulary, str, str, Mapping[str, Any]], list[str]]
"""Of a rule's name, a function's name and the schema of its parameters: that rule, and those that it needs."""

_PLAIN_NAME = re.compile(r"[\w-]+", re.ASCII)
_OF_TEXT = frozenset({"type", "enum", "title", "description", "default", "examples", "$comment"})
"""Keywords that a text may have which is written without quotes."""
_OF_ARGUMENTS = frozenset(
    {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "$defs",
        "definitions",
        "title",
        "description",
        "$schema",
    }
)


def _json(vocabulary: GrammarVocabulary, rule: str, name: str, parameters: Mapping[str, Any]) -> list[str]:
    quoted = json.dumps(name, ensure_ascii=False)
    tokens = ["{", '"name"', ":", quoted, ",", '"arguments"', ":"]
    body = " SPACE? ".join([*map(literal, tokens), f"{rule}_arguments", literal("}")])
    return [f"{rule}: SPACE? {body} SPACE?", document(vocabulary, f"{rule}_arguments", parameters)]


def _written(*parts: str) -> Body:
    """A form with arguments as JSON: `NAME` stands for the function's name, `ARGUMENTS` for them."""

    def body(vocabulary: GrammarVocabulary, rule: str, name: str, parameters: Mapping[str, Any]) -> list[str]:
        told = [
            f"{rule}_arguments" if part == "ARGUMENTS" else vocabulary.marker(part.replace("NAME", plain(name)))
            for part in parts
        ]
        return [f"{rule}: {' '.join(told)}", document(vocabulary, f"{rule}_arguments", parameters)]

    return body


@dataclass(frozen=True, slots=True)
class _Tagged:
    """A form with a tag around each argument: texts as they are, all else as JSON.

    Where a parser takes a text for something else (`null` for none, an end tag for the end), so it is also read here.
    """

    opening: str
    before: str
    """Before an argument; `KEY` stands for its name."""
    after: str
    closing: str
    reads_single_types: bool = False
    """Whether its parser reads what is no text by a `type` of the schema, which must then be a single one."""

    def __call__(self, vocabulary: GrammarVocabulary, rule: str, name: str, parameters: Mapping[str, Any]) -> list[str]:
        document(vocabulary, rule, parameters)  # what is no schema at all is told first
        properties: Mapping[str, Any] = parameters.get("properties", {})
        required = parameters.get("required", ())
        if strange := [key for key in parameters if key not in _OF_ARGUMENTS]:
            raise FormatNotSupported(f"`{strange[0]}` of a tool's parameters cannot be held to in this model's form")
        if unnamed := [key for key in required if key not in properties]:
            raise FormatNotSupported(f"a tool requires `{unnamed[0]}`, which is no property of its parameters")
        shared = {key: parameters[key] for key in ("$defs", "definitions") if key in parameters}
        told = [vocabulary.marker(self.opening.replace("NAME", plain(name)))]
        rules: list[str] = []
        for number, (key, schema) in enumerate(properties.items()):
            argument = f"{rule}_{number}"
            told.append(argument if key in required else f"{argument}?")
            rules += self._argument(vocabulary, argument, plain(key), schema, shared)
        return [f"{rule}: {' '.join([*told, vocabulary.marker(self.closing)])}", *rules]

    def _argument(
        self, vocabulary: GrammarVocabulary, rule: str, key: str, schema: Any, shared: Mapping[str, Any]
    ) -> Iterator[str]:
        before, after = vocabulary.marker(self.before.replace("KEY", key)), vocabulary.marker(self.after)
        kind = schema.get("type") if isinstance(schema, Mapping) else None
        if kind != "string":
            if self.reads_single_types and (not isinstance(kind, str) or kind == "null"):
                raise FormatNotSupported(f"`{key}` of a tool needs a single `type` in this model's form")
            whole = {**schema, **shared} if isinstance(schema, Mapping) else {}
            yield f"{rule}: {before} {rule}_value {after}"
            yield document(vocabulary, f"{rule}_value", whole)
        elif strange := [keyword for keyword in schema if keyword not in _OF_TEXT]:
            raise FormatNotSupported(f"`{strange[0]}` of a tool's text `{key}` cannot be held to in this model's form")
        elif "enum" in schema:
            texts = " | ".join(literal(text) for text in schema["enum"] if isinstance(text, str))
            yield f"{rule}: {before} ({texts}) {after}"
        else:
            text, *rules = text_until(vocabulary, f"{rule}_text", self.after.strip())
            yield f"{rule}: {before} {text} {vocabulary.marker(self.after[len(self.after.rstrip()) :])}"
            yield from rules


def document(vocabulary: GrammarVocabulary, rule: str, schema: Mapping[str, Any]) -> str:
    """A rule for a document of a schema.

    Raises:
        InvalidSchema, FormatNotSupported: it cannot be held to.
    """
    text = json_schema.grammar_of(schema)
    vocabulary.check_document(text)
    return f"{rule}: %json {text}"


def text_until(vocabulary: GrammarVocabulary, rule: str, marker: str) -> list[str]:
    """An expression for any text up to a marker, and the rule that it needs, if any."""
    end = vocabulary.marker(marker)
    if end.startswith("<["):
        return [f"ANYTHING? {end}"]
    return [rule, f"{rule}[suffix={literal(marker)}]: /(.|\\n)*/"]


def plain(name: str) -> str:
    """A name that no form could take for something else.

    Raises:
        FormatNotSupported: it might be.
    """
    if not _PLAIN_NAME.fullmatch(name):
        raise FormatNotSupported(f"the name {name!r} of a tool cannot be written in this model's form")
    return name


_GLM = _Tagged("NAME\n", "<arg_key>KEY</arg_key>\n<arg_value>", "</arg_value>\n", "")
BODIES: Mapping[str, Body] = {
    "glm47": _GLM,
    "json_tools": _json,
    "kimi_k2": _written(
        "<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>", "ARGUMENTS", "<|tool_call_end|>"
    ),
    "kimi_k3": _written(
        '<|open|>call tool="NAME" index="1"<|sep|><|open|>json type="object"<|sep|>',
        "ARGUMENTS",
        "<|close|>json<|sep|><|close|>call<|sep|>",
    ),
    "laguna": _GLM,
    "longcat": _json,
    "minimax_m2": _Tagged(
        '\n<invoke name="NAME">\n', '<parameter name="KEY">', "</parameter>\n", "</invoke>\n", reads_single_types=True
    ),
    "mistral": _written("NAME[ARGS]", "ARGUMENTS"),
    "qwen3_coder": _Tagged(
        "\n<function=NAME>\n", "<parameter=KEY>\n", "\n</parameter>\n", "</function>\n", reads_single_types=True
    ),
}
"""By the name of mlx-lm's parser."""
