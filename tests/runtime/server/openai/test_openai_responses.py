"""Responses by OpenAI's own client: whole, cut, streamed, with tools, thinking and in a form."""

from __future__ import annotations

import json
import re
from typing import Any

import openai
import pytest

from tests.runtime.server.openai.asking import ANSWER, MODEL, RESULT, TOLD, WEATHER, asking_for_rome

QUESTION = "What is a lock?"


def test_a_response(client: openai.OpenAI) -> None:
    done = client.responses.create(model=MODEL, input=QUESTION, reasoning={"effort": "none"})
    assert (done.status, done.output_text) == ("completed", ANSWER)
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens
    with client.responses.create(model=MODEL, input=QUESTION, reasoning={"effort": "none"}, stream=True) as stream:
        events = list(stream)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_a_response_that_is_cut_says_so(client: openai.OpenAI) -> None:
    cut = client.responses.create(model=MODEL, input=QUESTION, max_output_tokens=4, reasoning={"effort": "none"})
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    assert ANSWER.startswith(cut.output_text)


@pytest.mark.parametrize("thinks", [True, False])
@pytest.mark.parametrize("streams", [True, False])
def test_a_tool_is_called_and_its_result_told(client: openai.OpenAI, *, streams: bool, thinks: bool) -> None:
    tool = {"type": "function", **WEATHER["function"], "strict": True}
    effort = "high" if thinks else "none"
    settings: Any = {"model": MODEL, "tools": [tool], "reasoning": {"effort": effort}}
    items = asking_for_rome()
    for expected in ("function_call", "message"):
        if streams:
            with client.responses.stream(input=items, **settings) as stream:
                kinds = [event.type for event in stream]
                done: Any = stream.get_final_response()
            assert kinds[:2] == ["response.created", "response.in_progress"]
            assert kinds[-1] == "response.completed"
        else:
            done = client.responses.create(input=items, **settings)
        assert [item.type for item in done.output] == ["reasoning"] * thinks + [expected]
        if expected == "function_call":
            call = done.output[-1]
            assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Rome"})
            output = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
            given = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in done.output]
            items = [*items, *given, output]
    assert re.fullmatch(TOLD, done.output_text)
