"""An answer, a form, a tool and a stream by smolagents; prints them as JSON. Arguments: the server's URL.

Its agents' own instructions are far beyond the example's model, so the tool is called the way an agent does it, step by
step: it tells the model of calls and results as texts.
"""

import json
import sys

from smolagents import ChatMessage, MessageRole, OpenAIModel, tool
from smolagents.memory import ActionStep, Timing, ToolCall

CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "capital": {"type": "boolean"}},
    "required": ["city", "capital"],
}
cities: list[str] = []


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city

    Args:
        city: Its name
    """
    cities.append(city)
    return json.dumps({"city": city, "temperature": 21, "condition": "sunny"})


def asking(question: str) -> list[ChatMessage]:
    """The messages of a question."""
    return [ChatMessage(role=MessageRole.USER, content=[{"type": "text", "text": question}])]


def main(url: str) -> None:
    """Ask."""
    model = OpenAIModel(model_id="hello", api_base=f"{url}/v1", api_key="unused", client_kwargs={"max_retries": 0})
    answer = model.generate(asking("What is a lock?")).content
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    formed = json.loads(model.generate(asking("Tell me of Rome."), response_format=form).content)
    pieces = [piece.content or "" for piece in model.generate_stream(asking("What is a lock?"))]

    question = asking("What is the weather in Rome?")
    (call,) = model.generate(question, tools_to_call_from=[get_weather]).tool_calls
    arguments = json.loads(call.function.arguments)
    step = ActionStep(
        step_number=1,
        timing=Timing(start_time=0),
        tool_calls=[ToolCall(name=call.function.name, arguments=arguments, id=call.id)],
        observations=get_weather(**arguments),
    )
    said = model.generate([*question, *step.to_messages()]).content
    got = {"answer": answer, "form": formed, "cities": cities, "said": said, "pieces": pieces}
    print(json.dumps({"chat": got}))


main(sys.argv[1])
