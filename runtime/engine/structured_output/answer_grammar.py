"""Builds the grammar of a whole answer: reasoning, then the response format or tool calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.grammar import GrammarVocabulary
from mlxbuild.runtime.engine.structured_output.tool_call_grammars import call_forms, function_of
from mlxbuild.runtime.engine.structured_output.tool_call_parts import document, text_until
from mlxbuild.runtime.engine.structured_output.trial import as_lark
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.protocol.requests import AnswerFormat, ToolChoice

Thinking = Literal["off", "possible", "open"]
"""Whether the model reasons first: no, if it opens the tag itself, or yes, as the prompt has opened it."""

_COMMON = r"""
SPACE: /[ \n]{1,4}/
ANYTHING: /(.|\n)+/
"""


def answer_grammar(
    facts: ModelFacts,
    vocabulary: GrammarVocabulary,
    *,
    format: AnswerFormat | None = None,  # noqa: A002
    tools: Sequence[Mapping[str, Any]] = (),
    tool_choice: ToolChoice | None = None,
    thinking: Thinking = "off",
    text_grammars: Mapping[str, str] | None = None,
    drops_space: bool = True,
) -> str:
    """The Lark grammar of an answer for which `needs_grammar` is true.

    With a format and optional tools, the answer has that format or consists of tool calls. With `drops_space`, white
    space may precede it: many models start with a token that includes a space.

    Raises:
        InvalidSchema, FormatNotSupported: the format, or a tool's parameters, are not supported.
    """
    choice = tool_choice or ToolChoice()
    rules: list[str] = []
    answers: list[str] = []
    callable_tools = _callable(tools, choice)
    if choice.mode != "required":
        if format is None:
            answers.append("ANYTHING?")
        else:
            rules.append(_document(vocabulary, format))
            answers.append("document")
    if callable_tools:
        one, forms = call_forms(
            facts, vocabulary, callable_tools, forced=choice.mode == "required", text_grammars=text_grammars
        )
        rules += forms
        several = choice.allows_several and choice.name is None
        calls = f"{one} (SPACE? {one})*" if several else one
        if format is None and choice.mode != "required":
            answers = [f"ANYTHING? ({calls})?"]
        else:
            answers.append(calls)
    thought, before = _thought(facts, vocabulary, thinking)
    rules += thought
    answer = " | ".join(answers)
    space = "SPACE?" if drops_space else ""
    return "\n".join([f"start: {before} {space} ({answer})", *rules, _COMMON])


def prompt_thinking(facts: ModelFacts, prompt: str, think: bool | str | None) -> Thinking:
    """Whether a model reasons before it answers, judged by the prompt and the request."""
    if not facts.think_start or not facts.think_end:
        return "off"
    if prompt.rstrip().endswith(facts.think_start):
        return "open"
    switched_off = think is False and facts.thinking_switch is not None
    return "off" if switched_off or prompt.rstrip().endswith(facts.think_end) else "possible"


def needs_grammar(
    format: AnswerFormat | None,  # noqa: A002
    tools: Sequence[Mapping[str, Any]],
    tool_choice: ToolChoice,
    text_grammars: Mapping[str, str] | None = None,
) -> bool:
    """Whether a request has to be constrained by a grammar."""
    if format is not None or tool_choice.mode == "required":
        return True
    return bool(tools) and tool_choice.mode == "auto" and (bool(text_grammars) or not tool_choice.allows_several)


def _document(vocabulary: GrammarVocabulary, format: AnswerFormat) -> str:  # noqa: A002
    """The rule of an answer in the response format."""
    if format.grammar is None:
        return document(vocabulary, "document", _schema(format))
    return f"document: %lark {{\n{as_lark(format.grammar)}\n}}"


def _schema(format: AnswerFormat) -> Mapping[str, Any]:  # noqa: A002
    return {"type": "object"} if format.schema is None else format.schema


def _callable(tools: Sequence[Mapping[str, Any]], choice: ToolChoice) -> list[Mapping[str, Any]]:
    if choice.mode == "none":
        return []
    functions = [function_of(tool) for tool in tools]
    if choice.mode == "required":
        names = [str(function.get("name")) for function in functions]
        if choice.name is not None and choice.name not in names:
            given = f"there are: {', '.join(names)}" if names else "there are no tools"
            raise FormatNotSupported(
                f"the tool that has to be called, `{choice.name}`, is not among the tools", hint=given
            )
        if not functions:
            raise FormatNotSupported("a tool call is required, and there are no tools")
    return [function for function in functions if choice.name in (None, function.get("name"))]


def _thought(facts: ModelFacts, vocabulary: GrammarVocabulary, thinking: Thinking) -> tuple[list[str], str]:
    """The rules for reasoning, and the expression that precedes the answer."""
    if thinking == "off" or not facts.think_start or not facts.think_end:
        return [], ""
    text, rules = text_until(vocabulary, "thought_text", facts.think_end)
    rules = [f"thought: {text}", *rules]
    if thinking == "open":
        return rules, "thought"
    return rules, f"(SPACE? {vocabulary.marker(facts.think_start)} thought)?"
