"""Responses that are kept: what goes on after them, what is told of them, who is told, and when they go."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.openai.responses.body import ResponseBody, response_request
from mlxbuild.runtime.server.openai.responses.failures import UnknownPreviousResponse, UnknownResponse
from mlxbuild.runtime.server.openai.responses.sealed_reasoning import FILE_NAME, ReasoningKeyUnusable, ReasoningSeal
from mlxbuild.runtime.server.openai.responses.stored_responses import StoredResponses
from mlxbuild.runtime.server.openai.responses.whole_input import whole_input
from mlxbuild.runtime.server.security.api_keys import KeyRing
from tests.runtime.server.openai.asking import ANSWER, MODEL, TOLD
from tests.runtime.server.openai.test_response_tools import CAPTURED
from tests.runtime.server.running import running

LOCK: Any = {"model": MODEL, "input": "What is a lock?", "reasoning": {"effort": "none"}, "max_output_tokens": 4}


def vercel(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the AI SDK of Vercel sent: first, and once it was answered."""
    bodies = json.loads((CAPTURED / "vercel.json").read_text())[name]
    first, then = ({**body, "model": MODEL} for body in bodies)
    return first, then


def with_ids_of(body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """The same request after this answer in place of the one that was captured."""
    told = {item["type"]: item for item in answer["output"]}
    kinds = {"rs_": "reasoning", "msg_": "message"}
    items = []
    for item in body["input"]:
        if item.get("type") == "item_reference":
            item = {
                **item,
                "id": told[next(kind for prefix, kind in kinds.items() if item["id"].startswith(prefix))]["id"],
            }
        elif item.get("type") == "reasoning":
            item = {**item, "encrypted_content": told["reasoning"]["encrypted_content"]}
        items.append(item)
    return {**body, "input": items} | ({"previous_response_id": answer["id"]} if "previous_response_id" in body else {})


def answered(client: httpx.Client, body: dict[str, Any]) -> Any:
    answer = client.post("/v1/responses", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("name", ["tools", "turns", "previous", "stateless"])
def test_vercels_second_turn_is_answered(hello: httpx.Client, name: str) -> None:
    first, then = vercel(name)
    begun = answered(hello, first)
    assert begun["store"] is (name != "stateless")
    done = answered(hello, with_ids_of(then, begun))
    assert done["status"] == "completed"
    if name == "tools":
        (message,) = (item for item in done["output"] if item["type"] == "message")
        assert re.fullmatch(TOLD, message["content"][0]["text"])
    else:
        assert done["usage"]["input_tokens"] > begun["usage"]["input_tokens"] + begun["usage"]["output_tokens"] / 2


@pytest.mark.parametrize("streams", [True, False])
def test_a_response_is_told_of_and_forgotten(client: openai.OpenAI, *, streams: bool) -> None:
    if streams:
        with client.responses.create(**LOCK, stream=True) as stream:
            *_, last = stream
        done = last.response
    else:
        done = client.responses.create(**LOCK)
    kept = client.responses.retrieve(done.id)
    assert kept.model_dump() == done.model_dump()
    assert ANSWER.startswith(kept.output_text)
    (item,) = client.responses.input_items.list(done.id)
    assert (item.type, item.content[0].text) == ("message", "What is a lock?")  # type: ignore[union-attr]
    client.responses.delete(done.id)
    for again in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError, match="`store` set to false"):
            again(done.id)


def test_input_items_come_page_by_page(client: openai.OpenAI) -> None:
    first = client.responses.create(**LOCK)
    items: Any = [{"role": "user", "content": f"{number}"} for number in range(3)]
    done = client.responses.create(**LOCK | {"input": items}, previous_response_id=first.id)
    assert done.previous_response_id == first.id
    texts = ["What is a lock?", first.output_text, "0", "1", "2"]
    assert [item.content[0].text for item in client.responses.input_items.list(done.id, order="asc")] == texts  # type: ignore[union-attr]
    page = client.responses.input_items.list(done.id, limit=2)
    assert [item.content[0].text for item in page.data] == ["2", "1"]  # type: ignore[union-attr]
    assert page.has_more
    assert [item.content[0].text for item in page] == texts[::-1]  # type: ignore[union-attr]
    for wrong in ({"limit": 0}, {"limit": 101}, {"order": "up"}, {"after": "msg_0"}):
        with pytest.raises(openai.BadRequestError):
            client.responses.input_items.list(done.id, **wrong)  # type: ignore[arg-type]


def test_items_of_one_id_are_told_one_by_one(client: openai.OpenAI) -> None:
    items: Any = [{"type": "message", "id": "m1", "role": "user", "content": f"x{number}"} for number in range(3)]
    done = client.responses.create(**LOCK | {"input": items})
    told = [item.content[0].text for item in client.responses.input_items.list(done.id, order="asc", limit=1)]  # type: ignore[union-attr]
    assert told == ["x0", "x1", "x2"]


@pytest.mark.parametrize("wrong", [["a"], {}, 5])
def test_an_id_that_is_no_text_is_refused(client: openai.OpenAI, wrong: Any) -> None:
    items: Any = [{"type": "message", "id": wrong, "role": "user", "content": "x"}]
    with pytest.raises(openai.BadRequestError, match=r"`input\[0\].id` must be a text"):
        client.responses.create(**LOCK | {"input": items})


@pytest.mark.parametrize("streams", [True, False])
def test_what_nests_too_deeply_to_be_told_back_is_refused(client: openai.OpenAI, *, streams: bool) -> None:
    schema: Any = {"type": "string"}
    for _ in range(200):
        schema = {"type": "object", "properties": {"a": schema}}
    form: Any = {"format": {"type": "json_schema", "name": "deep", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="too deeply"):
        client.responses.create(**LOCK, text=form, stream=streams)


def test_an_item_of_a_type_without_a_name_is_passed_over_and_kept(client: openai.OpenAI) -> None:
    items: Any = [{"type": "", "other": []}, {"role": "user", "content": "What is a lock?"}]
    done = client.responses.create(**LOCK | {"input": items})
    assert ANSWER.startswith(done.output_text)
    kept = httpx.get(f"{client.base_url}responses/{done.id}/input_items", params={"order": "asc"}).json()["data"]
    assert [item["type"] for item in kept] == ["", "message"]


def test_what_is_not_stored_is_said_so_and_not_found(client: openai.OpenAI) -> None:
    done = client.responses.create(**LOCK, store=False)
    assert done.to_dict()["store"] is False
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.retrieve(done.id)
    assert unknown.value.code == "unknown-response"
    for reference in ({"type": "item_reference"}, {"type": None}, {}):
        with pytest.raises(openai.NotFoundError, match="send the whole conversation") as item:
            client.responses.create(**LOCK | {"input": [{**reference, "id": done.output[0].id}]})
        assert (item.value.code, item.value.param) == ("unknown-item", "input[0]")
    with pytest.raises(openai.BadRequestError, match="`store` set to false") as before:
        client.responses.create(**LOCK, previous_response_id=done.id)
    assert before.value.code == "previous_response_not_found"


@pytest.fixture(scope="module")
def two_keys(hello_application: Application) -> Iterator[tuple[openai.OpenAI, openai.OpenAI]]:
    """Clients with a key each, of a server with room for two responses."""
    settings = replace(hello_application.settings, asks_for_key=True, stored_responses=2)
    residency = Residency.of(
        hello_application.store, lambda _, digest: digest
    )  # a loaded model keeps to one event loop
    ring = KeyRing(hello_application.home)
    keys = [ring.add(name) for name in ("anna", "ben")]
    try:
        with running(create_app(replace(hello_application, settings=settings, residency=residency))) as server:
            anna, ben = (openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) for key in keys)
            yield anna, ben
    finally:
        for name in ("anna", "ben"):
            ring.remove(name)


def test_nobody_is_told_of_the_responses_of_another_key(two_keys: tuple[openai.OpenAI, openai.OpenAI]) -> None:
    anna, ben = two_keys
    done = anna.responses.create(**LOCK, include=["reasoning.encrypted_content"])
    for asked in (ben.responses.retrieve, ben.responses.delete, ben.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            asked(done.id)
    with pytest.raises(openai.NotFoundError):
        ben.responses.create(**LOCK | {"input": [{"type": "item_reference", "id": done.output[0].id}]})
    with pytest.raises(openai.BadRequestError):
        ben.responses.create(**LOCK, previous_response_id=done.id)
    assert anna.responses.retrieve(done.id).id == done.id
    for _ in range(2):
        ben.responses.create(**LOCK)
    with pytest.raises(openai.NotFoundError):  # there is room for two
        anna.responses.retrieve(done.id)


def response(number: int, previous: int | None = None, size: int = 0) -> dict[str, Any]:
    text = {"type": "output_text", "text": "x" * size}
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "content": [text]}
    before = None if previous is None else f"resp_{previous}"
    return {"id": f"resp_{number}", "previous_response_id": before, "output": [message]}


def asked(number: int) -> list[dict[str, Any]]:
    return [{"id": f"msg_asked_{number}", "type": "message", "role": "user", "content": "Hi"}]


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    now = 0.0
    stored = StoredResponses(most=3, most_bytes=4000, seconds=60, clock=lambda: now)
    for number in range(3):
        assert stored.keep("", response(number, number - 1 if number else None), asked(number))
        now += 1
    ids = [item["id"] for item in stored.conversation("", "resp_1")]
    assert ids == ["msg_asked_0", "msg_0", "msg_asked_1", "msg_1"]
    stored.keep("", response(3), asked(3))  # the third one has not been asked for
    with pytest.raises(UnknownResponse):
        stored.response("", "resp_2")
    assert stored.item("", "msg_2") is None
    now += 59.5
    assert stored.item("", "msg_asked_3") == asked(3)[0]
    now += 1
    assert stored.response("", "resp_3")
    with pytest.raises(UnknownPreviousResponse):
        stored.conversation("", "resp_1")
    assert stored.keep("", response(4, size=3750), asked(4))  # the others make room for it
    assert stored.item("", "msg_3") is None
    assert not stored.keep("", response(5, size=5000), asked(5))
    assert stored.response("", "resp_4")


def test_a_response_whose_beginning_is_gone_cannot_be_gone_on_after() -> None:
    stored = StoredResponses(most=3, most_bytes=4000, seconds=60)
    stored.keep("", response(0), asked(0))
    stored.keep("", response(1, 0), asked(1))
    stored.forget("", "resp_0")
    with pytest.raises(UnknownPreviousResponse, match="`resp_1` cannot be continued: the earlier response `resp_0`"):
        stored.conversation("", "resp_1")
    assert stored.response("", "resp_1")
    stored.keep("", response(2, 1), asked(2))
    assert stored.input_items("", "resp_1") == asked(1)
    assert [item["id"] for item in stored.input_items("", "resp_2")] == ["msg_asked_1", "msg_1", "msg_asked_2"]


def whole(opened: Callable[[str], str | None], *items: Any) -> list[Any]:
    given = [{"role": "user", "content": "Hi"}, *items, {"role": "user", "content": "And?"}]
    body = checked(ResponseBody, {"model": "m", "input": given})
    found = whole_input(body, given, StoredResponses(most=0, most_bytes=0, seconds=0), "", opened)
    return list(response_request(body, found.own, found.before).messages)


def test_sealed_thoughts_come_back_in_this_home_and_for_their_owner_only(tmp_path: Any) -> None:
    seal = ReasoningSeal(Home(tmp_path))
    sealed = seal.seal("anna", "Hm, ✓")
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed}
    file = tmp_path / "keys" / FILE_NAME
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    again = ReasoningSeal(Home(tmp_path))  # as after a restart
    told = whole(lambda text: again.open("anna", text), item)
    assert told[1] == {"role": "assistant", "content": "", "reasoning_content": "Hm, ✓"}
    other = ReasoningSeal(Home(tmp_path / "other"))
    for opened in (
        lambda text: again.open("ben", text),
        lambda text: other.open("anna", text),
        lambda text: again.open("anna", text[:-6] + "AAAAA="),
        lambda text: again.open("anna", "gAAAA" + text),
        lambda text: again.open("anna", "mlxb1_AA=="),
    ):
        assert [message["role"] for message in whole(opened, item)] == ["user", "user"]
    assert sealed != seal.seal("anna", "Hm, ✓")
    file.write_bytes(b"short")
    with pytest.raises(ReasoningKeyUnusable):
        ReasoningSeal(Home(tmp_path)).seal("anna", "Hm")


def test_thoughts_are_sealed_where_that_is_asked_for(client: openai.OpenAI, hello_application: Application) -> None:
    include: Any = ["reasoning.encrypted_content"]
    asking: Any = {"model": MODEL, "input": "What is a lock?"}
    with client.responses.create(**asking, include=include, store=False, stream=True) as stream:
        done = [event.item for event in stream if event.type == "response.output_item.done"]
    thought: Any = done[0]
    opened = ReasoningSeal(hello_application.home).open("", thought.encrypted_content)
    assert opened == thought.summary[0].text
    plain: Any = client.responses.create(**asking).output[0]
    assert plain.encrypted_content is None
