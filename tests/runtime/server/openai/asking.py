"""What is asked of the example through OpenAI's clients."""

from __future__ import annotations

from typing import Any, Literal

from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

MODEL = "hello"
LOCK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is a lock?"}]
ANSWER = "A lock is a file beside the spec that pins every source by its digest."
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TOLD = r"It is \d+ degrees and sunny in Rome\."
RESULT = '{"city": "Rome", "temperature": 21, "condition": "sunny"}'


def asking_for_rome() -> list[Any]:
    return [{"role": "user", "content": "What is the weather in Rome?"}]


class City(BaseModel):
    """What answers in a form tell."""

    city: Literal["Oslo", "Rome"]
    population: int
    capital: bool
