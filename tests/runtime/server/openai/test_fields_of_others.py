"""Fields of vLLM's, llama.cpp's, mlx_lm's and LM Studio's clients: every row of the table in docs/openai.md holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from mlxbuild.runtime.protocol.requests import AnswerFormat, ChatRequest
from mlxbuild.runtime.server.bodies.unknown_fields import tell_unknown
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.ollama.chat import ChatBody as NativeChatBody
from mlxbuild.runtime.server.openai.chat.body import ChatBody
from mlxbuild.runtime.server.openai.chat.request import chat_requests
from mlxbuild.runtime.server.openai.completions.body import CompletionBody, completion_requests
from mlxbuild.runtime.server.openai.effort import Effort
from mlxbuild.runtime.server.openai.passed_over_fields import PassedOverFields
from mlxbuild.runtime.server.openai.responses.body import ResponseBody, response_request
from tests.runtime.server.openai.asking import LOCK, MODEL

DOCS = Path(__file__).parents[4] / "docs" / "openai.md"
TABLE = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (honoured|refused|ignored)\b", DOCS.read_text("utf-8"), re.MULTILINE))
USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "required": ["a"]}
YES_OR_NO = AnswerFormat(grammar='start: "yes" | "no"')
GBNF = 'root ::= "yes" | "no"'


def option(name: str, value: Any) -> Callable[[ChatRequest], bool]:
    return lambda asked: asked.options.get(name) == value


def form(expected: AnswerFormat) -> Callable[[ChatRequest], bool]:
    return lambda asked: asked.format == expected


HONOURED: dict[str, list[tuple[Any, Callable[[ChatRequest], bool]]]] = {
    "chat_template_kwargs": [
        ({"tone": "kind"}, lambda asked: asked.template_variables == {"tone": "kind"} and asked.think is None),
        ({"enable_thinking": False}, lambda asked: asked.think is False),
        ({"thinking": False}, lambda asked: asked.think is False),
    ],
    "enable_thinking": [(False, lambda asked: asked.think is False), (True, lambda asked: asked.think is True)],
    "think": [("low", lambda asked: asked.think == "low"), (False, lambda asked: asked.think is False)],
    "thinking": [
        ({"type": "disabled"}, lambda asked: asked.think is False),
        ({"type": "enabled", "budget_tokens": 9}, lambda asked: asked.think is True),
        ({"type": "auto"}, lambda asked: asked.think is None),
        (False, lambda asked: asked.think is False),
    ],
    "chat_template": [("{{ messages }}", lambda asked: asked.template == "{{ messages }}")],
    "documents": [([{"title": "a"}], lambda asked: asked.template_variables == {"documents": [{"title": "a"}]})],
    "add_generation_prompt": [
        (False, lambda asked: asked.prompt_ending == "closed"),
        (True, lambda asked: asked.prompt_ending == "opened"),
    ],
    "continue_final_message": [(False, lambda asked: asked.prompt_ending == "opened")],
    "repetition_penalty": [
        (1.5, lambda asked: asked.options == {"repeat_penalty": 1.5, "repeat_last_n": -1}),
        (0, option("repeat_penalty", 1.0)),
    ],
    "repetition_context_size": [(20, option("repeat_last_n", 20))],
    "repeat_last_n": [(-1, option("repeat_last_n", -1))],
    "min_tokens": [(5, option("min_tokens", 5)), (0, option("min_tokens", None))],
    "ignore_eos": [(True, option("ignore_eos", True)), (False, option("ignore_eos", None))],
    "stop_token_ids": [([7], option("stop_token_ids", (7,))), ([], option("stop_token_ids", None))],
    "n_predict": [(7, option("max_tokens", 7))],
    "max_tokens": [(-1, option("max_tokens", 2**31 - 1)), (7, option("max_tokens", 7))],
    "num_draft_tokens": [(3, option("draft_tokens", 3)), (16, option("draft_tokens", 16))],
    "ttl": [(60, lambda asked: asked.options == {})],
    "guided_json": [(SCHEMA, form(AnswerFormat(SCHEMA))), (json.dumps(SCHEMA), form(AnswerFormat(SCHEMA)))],
    "guided_choice": [(["yes", "no"], form(YES_OR_NO))],
    "guided_regex": [("^[a/]+$", form(AnswerFormat(grammar="start: /[a\\/]+/")))],
    "guided_grammar": [('start: "a"', form(AnswerFormat(grammar='start: "a"')))],
    "structured_outputs": [
        ({"json": SCHEMA}, form(AnswerFormat(SCHEMA))),
        ({"json_object": True}, form(AnswerFormat())),
        ({"choice": ["yes", "no"]}, form(YES_OR_NO)),
        ({"regex": "a"}, form(AnswerFormat(grammar="start: /a/"))),
        ({"grammar": 'start: "a"'}, form(AnswerFormat(grammar='start: "a"'))),
        ({}, form(None)),  # type: ignore[arg-type]
    ],
    "json_schema": [(SCHEMA, form(AnswerFormat(SCHEMA)))],
    "grammar": [(GBNF, form(AnswerFormat(grammar=GBNF)))],
    "response_format": [({"type": "json_object"}, form(AnswerFormat())), ({"type": "text"}, form(None))],  # type: ignore[arg-type]
}
REFUSED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "structural_tag": ("{}", (None,)),
    "use_beam_search": (True, (False,)),
    "length_penalty": (0.5, (1, 1.0)),
    "allowed_token_ids": ([1], ([],)),
    "bad_words": (["x"], ([],)),
    "prompt_logprobs": (1, (None,)),
    "truncate_prompt_tokens": (5, (None,)),
    "include_stop_str_in_output": (True, (False,)),
    "skip_special_tokens": (False, (True,)),
    "logits_processors": (["a.b"], ([],)),
    "typical_p": (0.5, (1.0,)),
    "xtc_probability": (0.5, (0.0,)),
    "top_n_sigma": (1.0, (-1,)),
    "dry_multiplier": (0.8, (0.0,)),
    "dynatemp_range": (0.5, (0.0,)),
    "mirostat": (1, (0,)),
    "adapters": ("x", (None,)),
    "lora": ([{"id": 0}], ([],)),
}
"""What is refused, and what is neutral."""
PASSED_OVER = sorted(field for field, verdict in TABLE.items() if verdict == "ignored")


def ignored(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """What was logged of fields that are passed over."""
    told: list[Any] = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [each for each in told if each["event"] == "field-ignored"]


def asked(**fields: Any) -> ChatRequest:
    return chat_requests(checked(ChatBody, {"model": "m", "messages": [USER], **fields}))[0]


PLAIN = asked()


def test_the_table_has_these_fields_and_no_others() -> None:
    assert {field for field, verdict in TABLE.items() if verdict == "honoured"} == HONOURED.keys()
    assert {field for field, verdict in TABLE.items() if verdict == "refused"} == REFUSED.keys()
    assert set(PASSED_OVER) == PassedOverFields.model_fields.keys()


@pytest.mark.parametrize(
    ("field", "value", "holds"), [(field, *case) for field, cases in HONOURED.items() for case in cases]
)
def test_what_is_honoured_reaches_the_model(field: str, value: Any, holds: Callable[[ChatRequest], bool]) -> None:
    assert holds(asked(**{field: value})), asked(**{field: value})
    assert asked(**{field: None}) == PLAIN


@pytest.mark.parametrize("field", REFUSED)
def test_what_is_refused_says_what_to_do(field: str) -> None:
    value, neutral = REFUSED[field]
    for body in (ChatBody, CompletionBody):
        with pytest.raises(InvalidRequest, match=f"^`{field}`: ") as refused:
            checked(body, {"model": "m", "messages": [USER], "prompt": "Hi", field: value})
        assert refused.value.where == field
    for each in (*neutral, None):
        assert asked(**{field: each}) == PLAIN


@pytest.mark.parametrize("field", PASSED_OVER)
def test_what_the_table_says_is_passed_over_is_passed_over_in_silence(
    field: str, caplog: pytest.LogCaptureFixture
) -> None:
    for value in ("x", 5, [{}]):
        document = {"model": "m", "messages": [USER], field: value}
        assert chat_requests(checked(ChatBody, document))[0] == PLAIN
    for body in (ChatBody, CompletionBody, ResponseBody):
        tell_unknown(body, {field: "x"}, route="/v1", client="quiet")
    assert ignored(caplog) == []


def test_what_stands_nowhere_is_logged_once_for_each_client(caplog: pytest.LogCaptureFixture) -> None:
    document = {"model": "m", "messages": [USER], "no_such_field": "x"}
    assert chat_requests(checked(ChatBody, document))[0] == PLAIN
    for client in ("vllm/1", "vllm/1", "other/2"):
        tell_unknown(ChatBody, document, route="/v1/chat/completions", client=client)
    assert [each["field"] for each in ignored(caplog)] == ["no_such_field"] * 2


def test_the_docs_list_the_efforts_that_are_taken() -> None:
    (listed,) = re.findall(r"`reasoning_effort` \(`reasoning.effort`\) is\s+([^;]+);", DOCS.read_text("utf-8"))
    assert re.findall(r"`(\w+)`", listed) == list(get_args(Effort))
    for effort in get_args(Effort):
        thought = asked(reasoning_effort=effort).think
        assert thought in (False, "low", "medium", "high", "max")
        assert asked(reasoning={"effort": effort}).think == thought


def test_known_fields_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    native = {"Model": "m", "messages": [USER], "_debug_render_only": False, "STREAM": False}
    tell_unknown(NativeChatBody, native, route="/api/chat", client="known")
    structured = {"structured_outputs": {"json": SCHEMA}, "stop": "x"}
    tell_unknown(ChatBody, {"model": "m", "messages": [USER], **structured}, route="/v1", client="known")
    assert ignored(caplog) == []


def test_other_routes_have_them_too() -> None:
    body = {"model": "m", "prompt": "Hi", "response_format": {"type": "json_object"}, "min_tokens": 3, "ttl": 5}
    (completed,) = completion_requests(checked(CompletionBody, body))
    assert (completed.format, completed.options) == (AnswerFormat(), {"min_tokens": 3})
    assert checked(CompletionBody, body).stays() == 5
    response = {"model": "m", "input": "Hi", "chat_template_kwargs": {"enable_thinking": False}, "ignore_eos": True}
    request = response_request(checked(ResponseBody, response))
    assert (request.think, request.template_variables, request.options) == (
        False,
        {"enable_thinking": False},
        {"ignore_eos": True},
    )


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": {}, "guided_regex": "a"}, "guided_regex"),
        (
            {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
            "structured_outputs.regex",
        ),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": [""]}, "guided_choice[0]"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"self": 1}}, "chat_template_kwargs"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
        ({"repetition_penalty": -1}, "repetition_penalty"),
        ({"num_draft_tokens": 17}, "num_draft_tokens"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_place(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(**fields)
    assert refused.value.where == where


def ask(client: httpx.Client, **fields: Any) -> Any:
    answer = client.post("/v1/chat/completions", json={"model": MODEL, "messages": LOCK, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"guided_choice": ["Oslo", "Rome"]}, "Oslo|Rome"),
        ({"guided_regex": "[0-9]{3}/[a-c]"}, "[0-9]{3}/[a-c]"),
        ({"structured_outputs": {"grammar": 'root ::= "a" ("}" | "{") [x-z]'}}, r"a[{}][x-z]"),
        ({"guided_choice": ['{"a"}', "b\nc"], "enable_thinking": True}, r'\{"a"\}|b\nc'),
    ],
)
def test_answers_have_the_form_that_is_asked_for(hello: httpx.Client, fields: dict[str, Any], pattern: str) -> None:
    told = ask(hello, **{"enable_thinking": False, "temperature": 1, "seed": 3, **fields})
    assert re.fullmatch(pattern, told["choices"][0]["message"]["content"])


def test_stop_tokens_can_be_put_off_ignored_and_added(hello: httpx.Client) -> None:
    plain = ask(hello, enable_thinking=False)
    count = plain["usage"]["completion_tokens"]
    longer = ask(hello, enable_thinking=False, min_tokens=count + 5, max_tokens=count + 40)
    assert longer["usage"]["completion_tokens"] > count + 5
    ignored = ask(hello, enable_thinking=False, ignore_eos=True, max_tokens=count + 7)
    assert (ignored["usage"]["completion_tokens"], ignored["choices"][0]["finish_reason"]) == (count + 7, "length")
    text = plain["choices"][0]["message"]["content"]
    late = ask(hello, enable_thinking=False, stop=[text[:1]], min_tokens=3, max_tokens=count)
    assert late["choices"][0]["message"]["content"].startswith(text[:1])
    refused = hello.post(
        "/v1/chat/completions", json={"model": MODEL, "messages": LOCK, "ignore_eos": True, "guided_choice": ["a"]}
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid-option")


def prompt(client: httpx.Client, **fields: Any) -> str:
    native = {"model": MODEL, "messages": LOCK, "stream": False, "_debug_render_only": True, **fields}
    answer = client.post("/api/chat", json=native)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["_debug_info"]["rendered_template"])


def test_variables_of_the_template_turn_thinking_off_on_every_route(hello: httpx.Client) -> None:
    variables = {"chat_template_kwargs": {"enable_thinking": False}}
    assert prompt(hello, **variables) == prompt(hello, think=False) != prompt(hello)
    assert "reasoning" not in ask(hello, **variables)["choices"][0]["message"]
    response = hello.post("/v1/responses", json={"model": MODEL, "input": LOCK[0]["content"], **variables}).json()
    assert [item["type"] for item in response["output"]] == ["message"]


def test_unknown_fields_are_logged_by_the_server(hello: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        body = {"model": MODEL, "messages": LOCK, "max_tokens": 1, "wholly_unknown": 1}
        hello.post("/v1/chat/completions", json=body, headers={"User-Agent": "someone/1"})
    assert [(each["field"], each["user_agent"]) for each in ignored(caplog)] == [("wholly_unknown", "someone/1")]
