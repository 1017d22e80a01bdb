"""Two turns with a tool each, the second one streamed, and a question to a model that does not exist.

OpenAI's Agents SDK takes them through Responses and through chat completions, and prints them as JSON. Arguments: the
server's URL.
"""

import asyncio
import json
import sys

import agents
import openai

cities: list[str] = []


@agents.function_tool
def get_weather(city: str) -> str:
    """Get the current weather in a city"""
    cities.append(city)
    return json.dumps({"city": city, "temperature": 21, "condition": "sunny"})


async def told(model: agents.Model, missing: agents.Model) -> dict:
    """What the client got through one of the APIs."""
    cities.clear()
    settings = agents.ModelSettings(include_usage=True)  # in streams, too
    agent = agents.Agent(name="assistant", model=model, tools=[get_weather], model_settings=settings)
    first = await agents.Runner.run(agent, "What is the weather in Rome?")
    question = {"role": "user", "content": "What is the weather in London?"}
    second = agents.Runner.run_streamed(agent, [*first.to_input_list(), question])
    streamed = ""
    async for event in second.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            streamed += event.data.delta
    usages = [response.usage.output_tokens for run in (first, second) for response in run.raw_responses]
    try:
        await agents.Runner.run(agent.clone(model=missing), "What is a lock?")
    except openai.NotFoundError as error:
        code = error.code
    texts = [first.final_output, second.final_output]
    return {"cities": [*cities], "texts": texts, "streamed": streamed, "usages": usages, "code": code}


async def main(url: str) -> None:
    """Ask through each API."""
    agents.set_tracing_disabled(True)  # else what is asked and answered is sent to OpenAI
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        kinds = {"responses": agents.OpenAIResponsesModel, "chat": agents.OpenAIChatCompletionsModel}
        models = {api: [kind(name, client) for name in ("hello", "nobody")] for api, kind in kinds.items()}
        print(json.dumps({api: await told(*pair) for api, pair in models.items()}))


asyncio.run(main(sys.argv[1]))
