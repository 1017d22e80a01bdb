"""White space at the beginning of answers, as every API is told of it."""

from __future__ import annotations

import pytest

from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, ToolCall
from mlxbuild.runtime.server.inference.leading_whitespace import LeadingWhitespace

CALL = Chunk(tool_call=ToolCall("f", {}), token=9)
END = Chunk(finish=GenerationFinished("stop", 1, 0, 3, 0.1, 0.1))


def texts(*chunks: Chunk) -> list[str]:
    opening = LeadingWhitespace()
    told = [opening.passed(chunk) for chunk in chunks]
    assert [chunk.token for chunk in told] == [chunk.token for chunk in chunks]
    return [chunk.text for chunk in told]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((Chunk("\n", token=1), Chunk("\n", token=2), CALL, END), ["", "", "", ""]),
        ((Chunk("\n", token=1), Chunk(" It", token=2), Chunk(" is", token=3), END), ["", "\n It", " is", ""]),
        ((Chunk(thinking="h", token=1), Chunk("\n", token=2), CALL, END), ["", "", "", ""]),
        ((Chunk("It", token=1), Chunk("\n", token=2), CALL, END), ["It", "\n", "", ""]),
        ((Chunk("\n", token=1), END), ["", "\n"]),
    ],
)
def test_space_is_told_with_text_and_never_before_a_call(chunks: tuple[Chunk, ...], expected: list[str]) -> None:
    assert texts(*chunks) == expected
