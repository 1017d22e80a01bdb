"""Chunks put together to a whole answer; above all, which scores belong to its text."""

from __future__ import annotations

from mlxbuild.runtime.protocol.answers import Answer
from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, TokenScore, ToolCall

ENDING = GenerationFinished("stop", 3, 0, 5, 0.1, 0.2)


def scored(text: str, chunk_text: str = "", **more: str) -> Chunk:
    """A chunk of the token with that text, which lets through another text, or none."""
    data = text.encode()
    return Chunk(chunk_text, more.get("thinking", ""), token=1, score=TokenScore(1, text, data, -0.5))


def told(answer: Answer) -> list[str]:
    return [scored.score.text for scored in answer.scores]


def test_an_answer_is_the_sum_of_its_chunks() -> None:
    answer = Answer()
    call = ToolCall("get_weather", {"city": "Oslo"})
    for chunk in (
        Chunk(thinking="Let me ", token=1),
        Chunk(thinking="see.", token=2),
        Chunk("It is ", token=3),
        Chunk("cold.", token=4),
        Chunk(tool_call=call, token=5),
        Chunk(finish=ENDING),
    ):
        answer.add(chunk)
    assert (answer.thinking, answer.text, answer.tool_calls) == ("Let me see.", "It is cold.", [call])
    assert answer.finish is ENDING
    assert answer.thinking_tokens == 2


def test_scores_come_with_the_chunk_that_completes_their_text() -> None:
    answer = Answer()
    assert answer.add(scored("a<", "a")) != ()
    assert answer.add(scored("b")) == ()  # "<b" may become a stop text
    assert [token.score.text for token in answer.add(scored("c", "<bc"))] == ["b", "c"]
    assert told(answer) == ["a<", "b", "c"]


def test_scores_of_thinking_markers_and_calls_are_left_out() -> None:
    answer = Answer()
    for chunk in (
        scored("<think>"),
        scored("hm", thinking="hm"),
        scored("</think>"),
        scored("\n\n"),
        scored("yes", "yes"),
        scored("<tool_call>"),
        scored("{}"),
        Chunk(tool_call=ToolCall("f", {}), token=1),
        scored("no", "no"),
        scored("<stop>"),
        Chunk(finish=ENDING),
    ):
        answer.add(chunk)
    assert told(answer) == ["yes", "no"]


def test_a_character_in_several_tokens_has_all_their_scores() -> None:
    answer = Answer()
    first, second = "é".encode()[:1], "é".encode()[1:]
    answer.add(Chunk(token=1, score=TokenScore(1, "�", first, -0.1)))
    answer.add(Chunk("é", token=2, score=TokenScore(2, "�", second, -0.2)))
    assert [scored.score.data for scored in answer.scores] == [first, second]
