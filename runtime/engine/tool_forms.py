"""Grammars of tool calls, in the forms that models write and mlx-lm's parsers read. Parsing lives in `tool_calls`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.engine.call_bodies import BODIES
from runtime.engine.grammar import GrammarVocabulary
from runtime.engine.json_schema import FormatNotSupported
from runtime.model.facts import ModelFacts


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
        raise FormatNotSupported(
            "the model's tool calls begin with no token of their own: nothing tells them from text"
        )
    body = BODIES.get(facts.tool_parser)
    if body is None:
        if forced:
            raise FormatNotSupported(
                f"tool calls cannot be forced on this model: the form `{facts.tool_parser}` has no grammar",
                hint=f"there are grammars for {', '.join(BODIES)}; else leave the choice to the model",
            )
        if not end.startswith("<["):
            raise FormatNotSupported(f"tool calls of the form `{facts.tool_parser}` have no grammar")
        return "call", [f"call: {start} ANYTHING {end}"]
    names = [f"call_{number}" for number in range(len(functions))]
    rules = [f"call: {start} ({' | '.join(names)}) {end}"]
    for rule, function in zip(names, functions, strict=True):
        rules += body(vocabulary, rule, str(function.get("name")), _parameters(function))
    return "call", rules


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = function.get("parameters") or {}
    return {"type": "object", **parameters} if isinstance(parameters, Mapping) else {"type": "object"}
