"""Grammars of the text between the markers of a tool call, by format. They are used by `tool_call_grammars`."""

from __future__ import annotations

import json
import keyword
from collections.abc import Callable, Mapping
from typing import Any

from mlxbuild.runtime.engine.output.bare_tool_calls import BARE_FORMS
from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.gemma_calls import function_gemma, gemma4
from mlxbuild.runtime.engine.structured_output.grammar import GrammarVocabulary, literal
from mlxbuild.runtime.engine.structured_output.tagged_calls import JSON_VALUES, NULL, Tagged
from mlxbuild.runtime.engine.structured_output.tool_call_parts import (
    arguments_of,
    containing,
    document,
    plain,
    separated,
)

Body = Callable[[GrammarVocabulary, str, str, Mapping[str, Any]], list[str]]
"""Takes a rule name, a function name and its parameters; returns that rule and those that it needs."""


def _json_with(key: str) -> Body:
    """A call as JSON, with its arguments under the given key."""

    def body(vocabulary: GrammarVocabulary, rule: str, name: str, parameters: Mapping[str, Any]) -> list[str]:
        tokens = ["{", '"name"', ":", json.dumps(name, ensure_ascii=False), ",", json.dumps(key), ":"]
        parts = " SPACE? ".join([*map(literal, tokens), f"{rule}_arguments", literal("}")])
        return [f"{rule}: SPACE? {parts} SPACE?", document(vocabulary, f"{rule}_arguments", parameters)]

    return body


def _written(*parts: str) -> Body:
    """A format with arguments as JSON: `NAME` stands for the function's name, `ARGUMENTS` for the arguments."""

    def body(vocabulary: GrammarVocabulary, rule: str, name: str, parameters: Mapping[str, Any]) -> list[str]:
        told = [
            f"{rule}_arguments" if part == "ARGUMENTS" else vocabulary.marker(part.replace("NAME", plain(name)))
            for part in parts
        ]
        return [f"{rule}: {' '.join(told)}", document(vocabulary, f"{rule}_arguments", parameters)]

    return body


def _pythonic(vocabulary: GrammarVocabulary, rule: str, name: str, parameters: Mapping[str, Any]) -> list[str]:
    """Keyword arguments whose values are JSON, which the parser also accepts where Python's syntax differs."""
    document(vocabulary, rule, parameters)  # reports an invalid schema first
    rules, items = [], []
    for number, argument in enumerate(arguments_of(parameters)):
        one = f"{rule}_{number}"
        rules.append(f"{one}: {literal(_identifier(argument.name) + '=')} {one}_value")
        rules.append(document(vocabulary, f"{one}_value", argument.document_schema))
        items.append((one, argument.is_required))
    inside, more = separated(rule, items, literal(", "))
    called = ".".join(map(_identifier, name.split(".")))
    return [f"{rule}: {literal(f'[{called}(')} {inside} {literal(')]')}", *rules, *more]


def _identifier(name: str) -> str:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise FormatNotSupported(f"the name {name!r} of a tool cannot be written in this model's tool call format")
    return plain(name)


_GLM = Tagged("NAME\n", "<arg_key>KEY</arg_key>\n<arg_value>", "</arg_value>\n", "")
BODIES: Mapping[str, Body] = {
    **{form: _json_with(key) for form, key in BARE_FORMS.items()},
    "function_gemma": function_gemma,
    "gemma4": gemma4,
    "glm47": _GLM,
    "json_tools": _json_with("arguments"),
    "kimi_k2": _written(
        "<|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>", "ARGUMENTS", "<|tool_call_end|>"
    ),
    "kimi_k3": _written(
        '<|open|>call tool="NAME" index="1"<|sep|><|open|>json type="object"<|sep|>',
        "ARGUMENTS",
        "<|close|>json<|sep|><|close|>call<|sep|>",
    ),
    "laguna": _GLM,
    "longcat": _json_with("arguments"),
    "minicpm5": Tagged('"NAME">', '<param name="KEY">', "</param>", "", never=(NULL,), reads_single_types=True),
    "minimax_m2": Tagged(
        '\n<invoke name="NAME">\n',
        '<parameter name="KEY">',
        "</parameter>\n",
        "</invoke>\n",
        never=(NULL, containing("</invoke>")),
        reads_single_types=True,
    ),
    "mistral": _written("NAME[ARGS]", "ARGUMENTS"),
    "muse_spark": Tagged(
        '\n<atem:invoke name="NAME">\n',
        '<atem:parameter name="KEY">',
        "</atem:parameter>\n",
        "</atem:invoke>\n",
        never=JSON_VALUES,
        quotes=True,
    ),
    "pythonic": _pythonic,
    "qwen3_coder": Tagged(
        "\n<function=NAME>\n",
        "<parameter=KEY>\n",
        "\n</parameter>\n",
        "</function>\n",
        never=(NULL,),
        reads_single_types=True,
    ),
}
"""By the name of mlx-lm's parser, or of a format without markers."""
