"""Grammars of tool calls with a tag around each argument: strings are written as they are, other values as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.grammar import GrammarVocabulary, literal
from mlxbuild.runtime.engine.structured_output.tool_call_parts import (
    ANNOTATIONS,
    Argument,
    arguments_of,
    containing,
    document,
    plain,
    text_until,
)

NULL = r"\s*[nN][uU][lL][lL]\s*"
"""Texts that some parsers read as null, whatever the schema says."""
JSON_VALUES = (
    r"\s*([\"\[{](.|\n)*)",
    r"\s*(true|false|null|NaN|-?Infinity|-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?)\s*",
)
"""Texts that could be JSON."""
_QUOTED = r"/\"([^\"\\<\x00-\x1f]|\\[\"\\nrtbf])*\"/"
_OF_TEXT = frozenset({"type", "enum", *ANNOTATIONS})
"""Keywords allowed for a string that is written without quotes."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tagged format. An end tag inside JSON is excluded, as the parser would take it for the end."""

    opening: str
    before: str
    """Text before an argument; `KEY` stands for its name."""
    after: str
    closing: str
    never: tuple[str, ...] = ()
    """Regular expressions of whole strings that the parser would read as something else."""
    quotes: bool = False
    """Whether such strings can be written as JSON, in quotes."""
    reads_single_types: bool = False
    """Whether the parser reads non-strings by the schema's `type`, which must then be a single one."""

    def __call__(self, vocabulary: GrammarVocabulary, rule: str, name: str, parameters: Mapping[str, Any]) -> list[str]:
        document(vocabulary, rule, parameters)  # reports an invalid schema first
        told = [vocabulary.marker(self.opening.replace("NAME", plain(name)))]
        rules: list[str] = []
        for number, argument in enumerate(arguments_of(parameters)):
            one = f"{rule}_{number}"
            told.append(one if argument.is_required else f"{one}?")
            rules += self._argument(vocabulary, one, argument)
        return [f"{rule}: {' '.join([*told, vocabulary.marker(self.closing)])}", *rules]

    def _argument(self, vocabulary: GrammarVocabulary, rule: str, argument: Argument) -> Iterator[str]:
        before = vocabulary.marker(self.before.replace("KEY", plain(argument.name)))
        if argument.type != "string":
            if self.reads_single_types and argument.type in (None, "null"):
                raise FormatNotSupported(
                    f"`{argument.name}` of a tool needs a single `type` in this model's tool call format"
                )
            self._refuse_ends(vocabulary, json.dumps(argument.schema, ensure_ascii=False))
            yield f"{rule}: {before} {rule}_value {vocabulary.marker(self.after)}"
            yield document(vocabulary, f"{rule}_value", argument.document_schema)
            return
        if strange := [keyword for keyword in argument.schema if keyword not in _OF_TEXT]:
            told = (
                f"`{strange[0]}` of a tool's text `{argument.name}` is not supported in this model's tool call format"
            )
            raise FormatNotSupported(told)
        end = self.after.strip()
        rest = vocabulary.marker(self.after[len(self.after.rstrip()) :])
        if "enum" in argument.schema:
            texts = [self._written(vocabulary, text) for text in argument.schema["enum"] if isinstance(text, str)]
            yield f"{rule}: {before} ({' | '.join(map(literal, texts))}) {vocabulary.marker(self.after)}"
            return
        text, rules = text_until(vocabulary, f"{rule}_text", end, never=self._excluded(vocabulary))
        quoted = f" | {rule.upper()}_QUOTED {vocabulary.marker(end)}" if self.quotes else ""
        yield f"{rule}: {before} ({text}{quoted}) {rest}"
        yield from rules
        if self.quotes:
            yield f"{rule.upper()}_QUOTED: {_QUOTED}"

    def _excluded(self, vocabulary: GrammarVocabulary) -> tuple[str, ...]:
        end = vocabulary.call_end
        return (*self.never, containing(end)) if end else self.never

    def _written(self, vocabulary: GrammarVocabulary, text: str) -> str:
        """A string of an `enum` in this format.

        Raises:
            FormatNotSupported: the parser would read it as something else.
        """
        is_misread = text != text.strip() or any(re.fullmatch(each, text) for each in self.never)
        if is_misread and not self.quotes:
            raise FormatNotSupported(f"the text {text!r} of a tool cannot be written in this model's tool call format")
        written = json.dumps(text, ensure_ascii=False) if is_misread else text
        self._refuse_ends(vocabulary, written)
        return written

    def _refuse_ends(self, vocabulary: GrammarVocabulary, written: str) -> None:
        for end in (self.after.strip(), vocabulary.call_end):
            if end and end in written:
                raise FormatNotSupported(
                    f"{end!r} in a value of a tool cannot be written in this model's tool call format"
                )
