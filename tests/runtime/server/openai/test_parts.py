"""Parts of messages: texts are put together, and what is none is refused with its place, in either API's names."""

from __future__ import annotations

from typing import Any

import pytest

from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported
from mlxbuild.runtime.server.openai.chat.body import ChatBody
from mlxbuild.runtime.server.openai.chat.request import chat_requests
from mlxbuild.runtime.server.openai.responses.body import ResponseBody, response_request

REFUSAL = {"type": "refusal", "refusal": "No."}


def chat(role: str, *parts: Any) -> str:
    body = checked(ChatBody, {"model": "m", "messages": [{"role": role, "content": list(parts)}]})
    return str(chat_requests(body)[0].messages[0]["content"])


def response(role: str, *parts: Any) -> str:
    body = checked(ResponseBody, {"model": "m", "input": [{"role": role, "content": list(parts)}]})
    return str(response_request(body).messages[0]["content"])


def test_texts_and_refusals_are_put_together() -> None:
    assert chat("assistant", {"type": "text", "text": "Hm. "}, REFUSAL) == "Hm. No."
    assert response("assistant", {"type": "output_text", "text": "Hm. "}, REFUSAL) == "Hm. No."
    assert response("user", {"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}) == "ab"


@pytest.mark.parametrize(
    ("of", "kind", "told", "place"),
    [
        (chat, "image_url", "images", "messages[0].content[1]"),
        (chat, "input_audio", "sound", "messages[0].content[1]"),
        (chat, "file", "files", "messages[0].content[1]"),
        (response, "input_image", "images", "input[0].content[1]"),
        (response, "input_audio", "sound", "input[0].content[1]"),
        (response, "input_file", "files", "input[0].content[1]"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(of: Any, kind: str, told: str, place: str) -> None:
    text = {"type": "text" if of is chat else "input_text", "text": "a"}
    with pytest.raises(NotSupported, match=f"does not take {told}") as caught:
        of("user", text, {"type": kind})
    assert caught.value.where == place


def test_each_api_has_names_of_its_own() -> None:
    with pytest.raises(InvalidRequest):
        chat("user", {"type": "input_text", "text": "a"})
    with pytest.raises(InvalidRequest):
        response("user", {"type": "text", "text": "a"})
