"""The official openai client for JavaScript against a real server, under Node."""

from __future__ import annotations

import json
import re

from mlxbuild.runtime.server.failures import CLIENT_GONE
from tests.clients import node
from tests.runtime.server.openai.asking import ANSWER, TOLD
from tests.runtime.server.running import RunningServer, soon


def test_the_javascript_client_gets_all_it_asks_for(hello_server: RunningServer) -> None:
    told = node.run(node.HERE / "openai.js", hello_server.url)
    assert told["chat"]["choices"][0]["message"]["content"] == ANSWER
    *chunks, usage = told["chunks"]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == ANSWER
    assert usage["usage"]["completion_tokens"] > 10
    assert told["called"] == ["Rome"]
    assert re.fullmatch(TOLD, told["answer"])
    assert json.loads(told["formed"]["choices"][0]["message"]["content"]).keys() >= {"city"}
    assert [len(item["embedding"]) for item in told["embedded"]["data"]] == [8, 8]
    assert told["response"]["output_text"] == ANSWER
    assert told["events"][0] == "response.created"
    assert told["events"][-1] == "response.completed"
    assert told["completion"]["usage"]["completion_tokens"] == 5
    assert "hello:int4" in told["models"]
    assert told["model"]["id"] == "hello"
    assert told["error"] == {"kind": "NotFoundError", "status": 404, "code": "model_not_found"}
    assert told["left"].startswith("chatcmpl-")
    soon(lambda: hello_server.observed[-1].status == CLIENT_GONE)
