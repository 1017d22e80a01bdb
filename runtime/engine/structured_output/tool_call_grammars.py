"""Grammars of tool calls, in the formats of mlx-lm's parsers. The calls are parsed in `output.tool_calls`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlxbuild.runtime.engine.output.bare_tool_calls import BARE_FORMS
from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.grammar import GrammarVocabulary, literal
from mlxbuild.runtime.engine.structured_output.json_text_grammar import in_json_text
from mlxbuild.runtime.engine.structured_output.tool_call_bodies import BODIES
from mlxbuild.runtime.model.facts import ModelFacts


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function of a tool in OpenAI's format, with or without its envelope."""
    function = tool.get("function", tool)
    return function if isinstance(function, Mapping) else {}


def call_forms(
    facts: ModelFacts,
    vocabulary: GrammarVocabulary,
    functions: Sequence[Mapping[str, Any]],
    *,
    forced: bool,
    text_grammars: Mapping[str, str] | None = None,
) -> tuple[str, list[str]]:
    """The name of the rule for one call of any of the functions, and all rules that it needs.

    If a call is not forced, the text between its markers is unconstrained where its format has no grammar, or a tool's
    parameters are not supported; with `text_grammars` (see `ChatRequest`) it is always constrained.

    Raises:
        InvalidSchema, FormatNotSupported: a tool's parameters, or the model's tool call format, are not supported.
    """
    is_bare = facts.tool_parser in BARE_FORMS
    if not facts.tool_parser or not (facts.tool_call_start or is_bare):
        raise FormatNotSupported(
            "it is not known how the model writes tool calls", hint="leave the choice to the model"
        )
    start = vocabulary.marker(facts.tool_call_start) if facts.tool_call_start else ""
    end = vocabulary.marker(facts.tool_call_end) if facts.tool_call_end else ""
    if not forced and not start.startswith("<["):
        raise FormatNotSupported(
            "the model's tool calls do not begin with a special token, so they cannot be told from text"
        )
    names = [f"call_{number}" for number in range(len(functions))]
    try:
        bodies = [
            _body(facts.tool_parser, vocabulary, *each, text_grammars or {})
            for each in zip(names, functions, strict=True)
        ]
    except FormatNotSupported:
        if forced or text_grammars or not end.startswith("<["):
            raise
        return "call", [f"call: {start} ANYTHING {end}"]
    rules = [rule for body in bodies for rule in body]
    return "call", [f"call: {start} ({' | '.join(names)}) {end}", *rules]


def _body(
    parser: str,
    vocabulary: GrammarVocabulary,
    rule: str,
    function: Mapping[str, Any],
    text_grammars: Mapping[str, str],
) -> list[str]:
    if parser not in BODIES:
        raise FormatNotSupported(
            f"tool calls cannot be forced on this model: its format `{parser}` has no grammar",
            hint=f"there are grammars for {', '.join(BODIES)}; else leave the choice to the model",
        )
    name, parameters = str(function.get("name")), _parameters(function)
    body = BODIES[parser](vocabulary, rule, name, parameters)
    return _with_text_grammar(body, rule, parameters, text_grammars[name]) if name in text_grammars else body


def _with_text_grammar(body: Sequence[str], rule: str, parameters: Mapping[str, Any], grammar: str) -> list[str]:
    """The same call, with a text of a grammar as its only argument."""
    (argument,) = parameters["properties"]
    head = f"{rule}_arguments:"
    if not any(each.startswith(head) for each in body):
        raise FormatNotSupported(
            "the model's tool calls have no JSON arguments, in which a grammar could be enforced",
            hint="give the tool the format `text`, or ask another model",
        )
    parts = [literal(part) for part in ("{", json.dumps(argument), ":")]
    quote = literal('"')
    arguments = f"{head} {' SPACE? '.join(parts)} SPACE? {quote} {rule}_text {quote} SPACE? {literal('}')}"
    kept = [each for each in body if not each.startswith(head)]
    return [*kept, arguments, f"{rule}_text: %lark {{\n{in_json_text(grammar)}\n}}"]


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters as the schema of an object.

    Raises:
        FormatNotSupported: the schema does not allow objects.
    """
    parameters = function.get("parameters") or {}
    if not isinstance(parameters, Mapping):
        return {"type": "object"}
    kinds = parameters.get("type", "object")
    if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds):
        name = str(function.get("name"))
        raise FormatNotSupported(f"the parameters of the tool `{name}` are of type {kinds!r}, not an object")
    return {**parameters, "type": "object"}
