"""Building blocks for grammars of tool calls: documents, free text, names, lists of arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.runtime.engine.structured_output import json_schema
from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.grammar import GrammarVocabulary, literal

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$comment"})
"""Keywords that constrain nothing."""
_OF_OBJECTS = frozenset(
    {"type", "properties", "required", "additionalProperties", "$defs", "definitions", "$schema", *ANNOTATIONS}
)
_DEFINITIONS = ("$defs", "definitions")
_ANY = r"(.|\n)"


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter of a tool."""

    name: str
    schema: Any
    is_required: bool
    definitions: Mapping[str, Any]
    """Definitions that its schema may refer to."""

    @property
    def document_schema(self) -> Mapping[str, Any]:
        """The schema together with the definitions."""
        return {**self.schema, **self.definitions} if isinstance(self.schema, Mapping) else {}

    @property
    def type(self) -> str | None:
        """Its type, if there is exactly one."""
        kind = self.schema.get("type") if isinstance(self.schema, Mapping) else None
        return kind if isinstance(kind, str) else None


def arguments_of(parameters: Mapping[str, Any]) -> list[Argument]:
    """The parameters of a function, in the order of its schema; a forced call has no others.

    Raises:
        FormatNotSupported: the schema constrains more than its properties.
    """
    properties: Mapping[str, Any] = parameters.get("properties", {})
    required = parameters.get("required", ())
    if strange := [key for key in parameters if key not in _OF_OBJECTS]:
        raise FormatNotSupported(
            f"`{strange[0]}` of a tool's parameters is not supported in this model's tool call format"
        )
    if unnamed := [key for key in required if key not in properties]:
        raise FormatNotSupported(f"a tool requires `{unnamed[0]}`, which is not among its parameters")
    definitions = {key: parameters[key] for key in _DEFINITIONS if key in parameters}
    return [Argument(name, schema, name in required, definitions) for name, schema in properties.items()]


def document(vocabulary: GrammarVocabulary, rule: str, schema: Mapping[str, Any]) -> str:
    """A rule for a JSON document of a schema.

    Raises:
        InvalidSchema, FormatNotSupported: the schema is not supported.
    """
    text = json_schema.grammar_of(schema)
    vocabulary.check_document(text)
    return f"{rule}: %json {text}"


def text_until(
    vocabulary: GrammarVocabulary, rule: str, marker: str, *, never: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """An expression for any text up to a marker, and the rules that it needs.

    The text never spells the marker, even where that is a token of its own, as a parser of the text would not see the
    difference. `never` are regular expressions that the whole text must not match.
    """
    end, terminal = vocabulary.marker(marker), rule.upper()
    text = f"{terminal}: {_text([containing(marker), *never])}"
    if end.startswith("<["):
        return f"{terminal}? {end}", [text]
    return rule, [f"{rule}[suffix={literal(marker)}]: {terminal}", text]


def containing(text: str) -> str:
    """A regular expression of all texts that contain a text."""
    return f"{_ANY}*{re.escape(text)}{_ANY}*"


def separated(rule: str, items: Sequence[tuple[str, bool]], separator: str) -> tuple[str, list[str]]:
    """An expression for items in their order, and the rules that it needs.

    Each item is a rule, and whether it is required; the others may be omitted.
    """
    rules: list[str] = []
    for number, (item, is_required) in enumerate(items):
        following = f" {rule}_after_{number + 1}" if number + 1 < len(items) else ""
        rules.append(f"{rule}_after_{number}: ({separator} {item}){'' if is_required else '?'}{following}")
    firsts: list[str] = []
    for number, (item, is_required) in enumerate(items):
        firsts.append(f"{item} {rule}_after_{number + 1}" if number + 1 < len(items) else item)
        if is_required:
            return f"({' | '.join(firsts)})", rules[1:]
    return f"({' | '.join(firsts)})?" if firsts else "", rules[1:]


def plain(name: str, pattern: str = r"[\w-]+") -> str:
    """A name that cannot be confused with the syntax of any format.

    Raises:
        FormatNotSupported: it might be.
    """
    if not re.fullmatch(pattern, name, re.ASCII):
        raise FormatNotSupported(f"the name {name!r} of a tool cannot be written in this model's tool call format")
    return name


def _text(never: Sequence[str]) -> str:
    excluded = " & ".join(f"~/{expression.replace('/', chr(92) + '/')}/" for expression in never)
    return f"/{_ANY}*/ & {excluded}"
