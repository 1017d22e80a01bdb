"""The gate `complete`, which checks a completion of the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlxbuild.runtime.engine.input.keywords import chat_request, completion_request
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.protocol.events import Chunk, Event
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest
from mlxbuild.toolchain.core.json_schema import complaint
from mlxbuild.toolchain.core.patterns import PatternRefused, found
from mlxbuild.toolchain.gates.verdict import Verdict

_SEED = 0
_SHOWN_CHARACTERS = 600


def judge(model: LoadedModel, given: Mapping[str, Any], checkpoint: Callable[[], None]) -> Verdict:
    """Check that the completion of `prompt` or `messages` is as `expect` says. Tool calls count, one JSON per line.

    Decoding is greedy unless `temperature` is set, which uses a fixed seed. `checkpoint` is called for each chunk and
    may raise.
    """
    options: Any = {"max_tokens": given["max_tokens"], "temperature": given["temperature"], "seed": _SEED}
    if "prompt" in given:
        request: ChatRequest | CompletionRequest = completion_request(given["prompt"], options)
    else:
        chat: Any = {name: given.get(name) for name in ("tools", "think", "system")}
        request = chat_request(given["messages"], chat | options)
    answer, reason = _answer(model.answer(request), checkpoint)
    complaint = _complaint(answer, given["expect"])
    measured = {"answer": answer, "finish_reason": reason}
    if complaint is None:
        return Verdict(True, _shown(answer), measured)
    cut = "; it was cut off by max_tokens" if reason == "length" else ""
    return Verdict(False, f"{complaint}{cut}\nanswer: {_shown(answer)}", measured)


def _answer(events: Iterable[Event], checkpoint: Callable[[], None]) -> tuple[str, str]:
    text, calls, reason = "", [], ""
    for chunk in events:
        checkpoint()
        if not isinstance(chunk, Chunk):
            continue
        text += chunk.text
        if chunk.tool_call is not None:
            call = {"name": chunk.tool_call.name, "arguments": dict(chunk.tool_call.arguments)}
            calls.append(json.dumps(call, ensure_ascii=False))
        if chunk.finish is not None:
            reason = chunk.finish.reason
    return "\n".join(part for part in (text.strip(), *calls) if part), reason


def _complaint(answer: str, expect: Mapping[str, Any]) -> str | None:
    if "contains" in expect and expect["contains"] not in answer:
        return f"the answer does not contain {expect['contains']!r}"
    if "regex" in expect:
        try:
            return None if found(expect["regex"], answer) else f"the answer does not match /{expect['regex']}/"
        except PatternRefused as error:
            return f"the pattern /{expect['regex']}/ of the gate cannot be used: {error}"
    if "equals" in expect and answer != expect["equals"].strip():
        return f"the answer is not {expect['equals']!r}"
    if "json_schema" in expect:
        return _schema_complaint(answer, expect["json_schema"])
    return None


def _schema_complaint(answer: str, schema: Mapping[str, Any]) -> str | None:
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError) as error:
        return f"the answer is not JSON: {error}"

    return complaint(document, schema)


def _shown(answer: str) -> str:
    return repr(answer if len(answer) <= _SHOWN_CHARACTERS else answer[:_SHOWN_CHARACTERS] + "…")
