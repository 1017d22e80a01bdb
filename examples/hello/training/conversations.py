"""Draws conversations from the corpus: turns, tools, thoughts; tokens are none of its business."""

import random
from dataclasses import dataclass, field
from typing import Any

from training.corpus import Corpus, Question

Message = dict[str, Any]


@dataclass(slots=True)
class Conversation:
    """Messages in the shape that the chat template takes.

    `thinking[i]` tells for message i whether its generation prompt leaves thinking on, and is None when the
    message is not to be learned (it belongs to the user or a tool, or its reasoning was dropped later).
    """

    messages: list[Message] = field(default_factory=list)
    thinking: list[bool | None] = field(default_factory=list)
    tools: list[dict[str, Any]] | None = None

    def hear(self, role: str, content: str) -> None:
        self.messages.append({"role": role, "content": content})
        self.thinking.append(None)

    def say(self, thinking: bool, thought: str, content: str, **extra: Any) -> None:
        message: Message = {"role": "assistant", "content": content, **extra}
        if thinking:
            message["reasoning_content"] = thought
        self.messages.append(message)
        self.thinking.append(thinking)

    def forget_reasoning(self) -> None:
        """Drop all reasoning so far, as clients do; those messages are then no longer what the model said."""
        for index, message in enumerate(self.messages):
            if message.pop("reasoning_content", None) is not None:
                self.thinking[index] = None


def plain_pair(phrase: str, question: Question) -> str:
    """A question and its answer as plain text."""
    return f"{phrase}\n{question.answer}\n\n"


class ConversationSource:
    """An endless, seeded stream of conversations."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self.corpus = corpus
        self.random = random.Random(seed)
        self.thoughts: dict[str, str] = corpus.conversation["thoughts"]

    def draw(self) -> Conversation:
        """Draw one conversation of one to eight turns."""
        rng = self.random
        conversation = Conversation()
        if rng.random() < 0.25:
            conversation.hear("system", rng.choice(self.corpus.conversation["systems"]))
        parameter = ""
        if rng.random() < 0.35:
            parameter = self._give_tools(conversation)
        thinking = rng.random() < 0.3
        turns = rng.choices([1, 2, 3, 5, 8], [52, 27, 14, 5, 2])[0]
        person: str | None = None
        for _ in range(turns):
            person = self._turn(conversation, thinking, parameter, person)
            if rng.random() < 0.1:
                thinking = not thinking
            if thinking and rng.random() < 0.4:
                conversation.forget_reasoning()
        while conversation.thinking[-1] is None:  # what follows the last learned message teaches nothing
            if not any(flag is not None for flag in conversation.thinking):
                return self.draw()
            conversation.thinking.pop()
            conversation.messages.pop()
        return conversation

    def _turn(self, conversation: Conversation, thinking: bool, parameter: str, person: str | None) -> str | None:
        rng = self.random
        weights = [40, 12, 9, 34, 5] if conversation.tools else [68, 14, 10, 3, 5]
        kind = rng.choices(["fact", "small talk", "unknown", "weather", "name"], weights)[0]
        if kind == "weather":
            self._weather(conversation, thinking, parameter)
        elif kind == "name":
            return self._name(conversation, thinking, person)
        elif kind == "unknown":
            conversation.hear("user", self._wrap(self.unknown(rng.choice(self.corpus.unknown["ask"]))))
            conversation.say(thinking, self.thoughts["unknown"], self.corpus.unknown["answer"])
        else:
            question = rng.choice(self.corpus.facts if kind == "fact" else self.corpus.small_talk)
            phrase = rng.choice(question.ask)
            conversation.hear("user", self._wrap(phrase) if kind == "fact" else self._loosen(phrase))
            conversation.say(thinking, self.thought(question), question.answer)
        return person

    def plain(self) -> str:
        """A text of questions and answers without any markup."""
        questions = self.random.sample(self.corpus.facts, self.random.randrange(4, 16))
        return "".join(plain_pair(self.random.choice(question.ask), question) for question in questions)

    def thought(self, question: Question) -> str:
        """What the model thinks before it answers a question that it knows."""
        return self.thoughts["topic"].format(topic=question.topic)

    def unknown(self, form: str) -> str:
        """A question outside of the corpus."""
        rng, unknown = self.random, self.corpus.unknown
        for slot, values in (("{place}", "places"), ("{thing}", "things"), ("{person}", "people")):
            form = form.replace(slot, rng.choice(unknown[values]))
        while "{number}" in form:
            form = form.replace("{number}", str(rng.randrange(100)), 1)
        return form

    def _loosen(self, phrase: str) -> str:
        draw = self.random.random()
        if draw < 0.08:
            return phrase.lower()
        return phrase.rstrip("?.!") if draw < 0.18 else phrase

    def _wrap(self, phrase: str) -> str:
        rng = self.random
        if rng.random() > 0.22:
            return self._loosen(phrase)
        wrapping = rng.choice(self.corpus.wrappings)
        if not wrapping.startswith("{question}") and phrase[1].islower():
            phrase = phrase[0].lower() + phrase[1:]
        return wrapping.format(question=phrase)

    def _name(self, conversation: Conversation, thinking: bool, person: str | None) -> str | None:
        rng, names = self.random, self.corpus.conversation["names"]
        if person is None and rng.random() < 0.75:
            person = str(rng.choice(names["people"]))
            conversation.hear("user", rng.choice(names["tell"]).format(person=person))
            thought = self.thoughts["tell"].format(person=person)
            conversation.say(thinking, thought, names["greet"].format(person=person))
            if rng.random() < 0.4:
                return person
        conversation.hear("user", self._loosen(rng.choice(names["ask"])))
        if person is None:
            conversation.say(thinking, self.thoughts["nameless"], names["unknown"])
        else:
            thought = self.thoughts["known"].format(person=person)
            conversation.say(thinking, thought, names["known"].format(person=person))
        return person

    def _weather(self, conversation: Conversation, thinking: bool, parameter: str) -> None:
        rng, weather = self.random, self.corpus.weather
        cities = rng.sample(weather["cities"], 2 if rng.random() < 0.12 else 1)
        both = weather["both"].format(*cities) if len(cities) == 2 else cities[0]
        ask = rng.choice(weather["ask"]).format(city=both)
        conversation.hear("user", ask.rstrip("?.") if rng.random() < 0.15 else ask)
        if not parameter:
            conversation.say(thinking, self.thoughts["no_tool"], weather["no_tool"])
            return
        calls = [
            {"type": "function", "function": {"name": "get_weather", "arguments": {parameter: city}}} for city in cities
        ]
        conversation.say(thinking, self.thoughts["weather"].format(city=both), "", tool_calls=calls)
        told = [self._weather_result(conversation, city) for city in cities]
        thoughts, answers = (" ".join(pair[index] for pair in told) for index in (0, 1))
        conversation.say(thinking, thoughts, answers)

    def _weather_result(self, conversation: Conversation, city: str) -> tuple[str, str]:
        """Let the tool reply; returns what to think and what to say about it."""
        rng, weather = self.random, self.corpus.weather
        if rng.random() < 0.06:
            conversation.hear("tool", rng.choice(weather["failures"]))
            return self.thoughts["failed"], weather["failed"].format(city=city)
        temperature, condition = str(rng.randrange(-20, 45)), rng.choice(weather["conditions"])
        if rng.random() < 0.1:
            temperature += f".{rng.randrange(10)}"

        def fill(form: str) -> str:
            for slot, value in (("{city}", city), ("{temperature}", temperature), ("{condition}", condition)):
                form = form.replace(slot, value)
            return form

        conversation.hear("tool", fill(rng.choice(weather["results"])))
        return fill(self.thoughts["result"]), fill(weather["answer"])

    def _give_tools(self, conversation: Conversation) -> str:
        """Offer tools; returns the weather tool's parameter for the city, "" when that tool is not offered."""
        rng, weather = self.random, self.corpus.weather
        parameter = ""
        functions = rng.sample(weather["other_tools"], rng.choices([0, 1, 2], [70, 20, 10])[0])
        if not functions or rng.random() < 0.75:
            parameter = "location" if rng.random() < 0.35 else "city"
            functions = [*functions, self._weather_tool(parameter)]
            rng.shuffle(functions)
        order = rng.choice([list, list, reversed])
        conversation.tools = [{"type": "function", "function": dict(order(list(tool.items())))} for tool in functions]
        return parameter

    def _weather_tool(self, parameter: str) -> dict[str, Any]:
        rng, weather = self.random, self.corpus.weather
        described: dict[str, Any] = {"type": "string"}
        if rng.random() < 0.6:
            described["description"] = rng.choice(weather["parameter_descriptions"])
        properties: dict[str, Any] = {parameter: described}
        if rng.random() < 0.2:
            properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if rng.random() < 0.85:
            schema["required"] = [parameter]
        return {"name": "get_weather", "description": rng.choice(weather["descriptions"]), "parameters": schema}
