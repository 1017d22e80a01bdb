"""Chat templates render byte for byte as transformers renders them, or are refused by both."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from transformers import PreTrainedTokenizerFast

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.model.prompt import ChatTemplate, named, template_names
from mlxbuild.runtime.rendering.sandbox import ChatEnvironment

FOLDER = Path(__file__).parent / "chat_templates"
HELLO = Path(__file__).parents[3] / "examples" / "hello" / "model" / "chat_template.jinja"
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TEXTS = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.jinja"))}
TEXTS |= {f"named {name}": named(name) for name in template_names()}
TEXTS["hello"] = HELLO.read_text()

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'Wetter für "Städte" <b>&</b>',
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Zürich", "Oslo"]}}},
    },
}
CALL = {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich"}}}
USER, ANSWER = {"role": "user", "content": " What <is> it?\n"}, {"role": "assistant", "content": "It's 'that' & 7 €. "}
CONVERSATIONS: Mapping[str, list[dict[str, Any]]] = {
    "question": [USER],
    "turns": [USER, ANSWER, USER],
    "system": [{"role": "system", "content": "Be short."}, USER, ANSWER],
    "two users": [USER, USER],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image"}]}],
    "nulls": [USER, {**ANSWER, "tool_calls": None, "reasoning_content": None}, USER],
    "reasoning": [USER, {**ANSWER, "reasoning": "Hm."}, USER, {**ANSWER, "thinking": "So.\n"}],
    "thinking inside": [USER, {"role": "assistant", "content": "<think>\nHm\n</think>\n\nYes."}],
    "tools": [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "name": "get_weather", "content": '{"c": 4}', "tool_call_id": "call00001"},
        {"role": "tool", "name": "get_weather", "content": "ok", "tool_call_id": "call00001"},
        ANSWER,
        USER,
    ],
    "two calls": [USER, {"role": "assistant", "content": "Both.", "tool_calls": [CALL, CALL]}],
    "text arguments": [
        USER,
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}, "id": "call00001"}]},
    ],
}
SETTINGS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "prompt": {"add_generation_prompt": True},
    "tools": {"tools": [TOOL], "add_generation_prompt": True},
    "thinking": {"add_generation_prompt": True, "enable_thinking": True},
    "no thinking": {"add_generation_prompt": True, "enable_thinking": False},
    "continue": {"continue_final_message": True},
    "date": {"date_string": "1 Jan 2030"},
}


@pytest.fixture(scope="module")
def reference() -> PreTrainedTokenizerFast:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_TOKENS)


def rendered_by_transformers(
    reference: PreTrainedTokenizerFast, text: str, messages: list[dict[str, Any]], setting: dict[str, Any]
) -> str | None:
    try:
        return str(reference.apply_chat_template(messages, chat_template=text, tokenize=False, **setting))
    except Exception:  # noqa: BLE001 - whatever a template raises
        return None


@functools.cache
def compiled(text: str) -> ChatTemplate:
    return ChatTemplate(text, SPECIAL_TOKENS)


def rendered_by_us(text: str, messages: list[dict[str, Any]], setting: dict[str, Any]) -> str | None:
    setting = {"add_generation_prompt": False, **setting}
    try:
        return compiled(text).render(messages, **setting)
    except UserError:
        return None


@pytest.mark.parametrize("name", TEXTS)
def test_renders_what_transformers_renders(name: str, reference: PreTrainedTokenizerFast) -> None:
    both = 0
    for conversation, messages in CONVERSATIONS.items():
        for setting_name, setting in SETTINGS.items():
            today = datetime.now().date()
            expected = rendered_by_transformers(reference, TEXTS[name], messages, setting)
            found = rendered_by_us(TEXTS[name], messages, setting)
            if today != datetime.now().date():
                continue  # midnight passed between the two
            assert found == expected, (conversation, setting_name)
            both += expected is not None
    assert both >= 10


def test_the_environment_holds_no_less_than_that_of_transformers() -> None:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    theirs = _compile_jinja_template("{{ 1 }}").environment
    ours = ChatEnvironment(datetime.now)
    assert set(theirs.globals) - set(ours.globals) == {"lipsum"}
    assert set(theirs.filters) - set(ours.filters) == {"random"}
    assert (ours.trim_blocks, ours.lstrip_blocks) == (theirs.trim_blocks, theirs.lstrip_blocks)
