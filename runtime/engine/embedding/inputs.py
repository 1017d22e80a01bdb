"""From inputs of an embedding request to tokens: with the model's prompt before them, and truncated if allowed."""

from __future__ import annotations

from collections.abc import Sequence

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.model.facts import EmbeddingFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer

Input = str | Sequence[int]
"""A text, or token ids."""


class InputUnusable(UserError):
    """An input for embedding has no tokens, or more than the model accepts."""

    code = "input-unusable"


def rows_of(
    tokenizer: Tokenizer,
    facts: EmbeddingFacts,
    inputs: Sequence[Input],
    *,
    longest: int | None,
    truncates: bool,
    prompt: str | None = None,
) -> list[list[int]]:
    """Token ids of each input. Texts are prefixed with the prompt of that name, or the model's default one.

    Texts are truncated so that the special tokens at their end stay.

    Raises:
        InputUnusable: an input has no tokens, or more than `longest` and is not to be truncated; or there is no such
            prompt.
    """
    name = facts.default_prompt if prompt is None else prompt
    if name is not None and name not in facts.prompts:
        known = ", ".join(facts.prompts) or "none"
        raise InputUnusable(f"the model has no prompt `{name}`", hint=f"its prompts are: {known}")
    before = "" if name is None else facts.prompts[name]
    rows = []
    for number, given in enumerate(inputs, 1):
        if isinstance(given, str):
            row = tokenizer.encode(before + given, add_special_tokens=True, most=longest)
        else:
            row = list(given)
        if not row:
            raise InputUnusable(f"input {number} has no tokens")
        if longest is not None and len(row) > longest:
            if not truncates:
                raise InputUnusable(
                    f"the input length exceeds the context length: input {number} has {len(row)} tokens, and the model "
                    f"reads {longest}",
                    hint="shorten it, or let it be cut",
                )
            row = _cut(row, tokenizer.encode(before + given, most=longest) if isinstance(given, str) else row, longest)
        rows.append(row)
    return rows


def _cut(row: list[int], text: list[int], longest: int) -> list[int]:
    """Truncate the text in a row of tokens. `text` is the row without the special tokens around it."""
    around = len(row) - len(text)
    begin = next((place for place in range(around + 1) if row[place : place + len(text)] == text), None)
    if begin is None or longest <= around:
        return row[:longest]
    return row[:begin] + text[: longest - around] + row[begin + len(text) :]
