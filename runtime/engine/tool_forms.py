"""Grammars of tool calls, in the forms that models write and mlx-lm's parsers read. Parsing lives in `tool_calls`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime.engine import json_schema
from runtime.engine.grammar import GrammarVocabulary, literal
from runtime.engine.json_schema import FormatNotSupported
from runtime.model.facts import ModelFacts

_PLAIN_NAME = re.compile(r"[\w-]+", re.ASCII)


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function of a tool in OpenAI's form, with or without the envelope around it."""
    function = tool.get("function", tool)
    return function if isinstance(function, Mapping) else {}


def call_forms(
    facts: ModelFacts, vocabulary: GrammarVocabulary, functions: Sequence[Mapping[str, Any]], *, forced: bool
) -> tuple[str, list[str]]:
    """The name of the rule for one call of any of the functions, and all rules that it needs.

    A call that is not forced may have a form whose grammar is unknown here: what is between the markers is free then.

    Raises:
        InvalidSchema, FormatNotSupported: the parameters of a tool, or the model's form of calls, cannot be held to.
    """
    if not facts.tool_parser or not facts.tool_call_start:
        raise FormatNotSupported(
            "it is not known how the model writes tool calls", hint="leave the choice to the model"
        )
    start = vocabulary.marker(facts.tool_call_start)
    end = vocabulary.marker(facts.tool_call_end) if facts.tool_call_end else ""
    if not forced and not start.startswith("<["):
        raise FormatNotSupported("the model's tool calls begin with no token of their own, so they cannot be counted")
    body = _BODIES.get(facts.tool_parser)
    if body is None:
        if forced:
            raise FormatNotSupported(
                f"tool calls cannot be forced on this model: the form `{facts.tool_parser}` has no grammar",
                hint=f"there are grammars for {', '.join(sorted(_BODIES))}; else leave the choice to the model",
            )
        if not end.startswith("<["):
            raise FormatNotSupported(f"tool calls of the form `{facts.tool_parser}` have no grammar")
        return "call", [f"call: {start} ANYTHING {end}"]
    rules = [f"call: {start} SPACE? ({' | '.join(f'call_{n}' for n in range(len(functions)))}) SPACE? {end}"]
    for number, function in enumerate(functions):
        rules.append(f"call_{number}: {body(vocabulary, str(function.get('name')), f'arguments_{number}')}")
        schema = json_schema.grammar_of(_parameters(function))
        vocabulary.check_document(schema)
        rules.append(f"arguments_{number}: %json {schema}")
    return "call", rules


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = function.get("parameters") or {}
    return {"type": "object", **parameters} if isinstance(parameters, Mapping) else {"type": "object"}


def _json_tools(vocabulary: GrammarVocabulary, name: str, arguments: str) -> str:
    quoted = json.dumps(name, ensure_ascii=False)
    tokens = ["{", '"name"', ":", quoted, ",", '"arguments"', ":"]
    return " SPACE? ".join([*map(literal, tokens), arguments, literal("}")])


def _mistral(vocabulary: GrammarVocabulary, name: str, arguments: str) -> str:
    return f"{literal(_plain(name))} {vocabulary.marker('[ARGS]')} {arguments}"


def _kimi_k2(vocabulary: GrammarVocabulary, name: str, arguments: str) -> str:
    marker = vocabulary.marker
    number = r"/[0-9]{1,3}/"
    return (
        f"{marker('<|tool_call_begin|>')} {literal(f'functions.{_plain(name)}:')} {number}"
        f" {marker('<|tool_call_argument_begin|>')} {arguments} {marker('<|tool_call_end|>')}"
    )


def _plain(name: str) -> str:
    if not _PLAIN_NAME.fullmatch(name):
        raise FormatNotSupported(f"a tool named {name!r} cannot be called in this model's form")
    return name


_BODIES: Mapping[str, Callable[[GrammarVocabulary, str, str], str]] = {
    "json_tools": _json_tools,
    "mistral": _mistral,
    "kimi_k2": _kimi_k2,
}
"""By mlx-lm's parser: what is between the markers of one call."""
