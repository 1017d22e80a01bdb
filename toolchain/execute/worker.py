"""The worker process of the process executor: reads requests from stdin and writes events to stdout, one JSON per line.

It exits when its stdin closes, so no process is left behind when the parent is killed.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import pickle
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.blas import prefer_openblas
from mlxbuild.toolchain.core.action_key import record_from_json, record_to_json
from mlxbuild.toolchain.execute.inline import InlineExecutor
from mlxbuild.toolchain.execute.perform import ExecutionContext
from mlxbuild.toolchain.execute.port import (
    ActionEvent,
    ActionRequest,
    Answered,
    Begun,
    FailedAction,
    Finished,
    Progressed,
)


def main() -> None:
    """Serve requests until stdin ends."""
    home, steps, refresh = Home(Path(sys.argv[1])), sys.argv[2], frozenset(sys.argv[3:])
    module, name = steps.split(":")
    chosen_steps = getattr(importlib.import_module(module), name)
    context = replace(ExecutionContext.of(Store.open(home), refresh), steps=chosen_steps)
    prefer_openblas()  # must happen before MLX is loaded
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # output that a library prints must not mix with events
    events: SimpleQueue[ActionEvent] = SimpleQueue()
    executor = InlineExecutor(context, jobs=1)
    executor.start(events)
    threading.Thread(target=_read_requests, args=(executor,), daemon=True).start()
    while True:
        out.write(json.dumps(event_to_json(events.get())) + "\n")


def _read_requests(executor: InlineExecutor) -> None:
    for line in sys.stdin:
        executor.submit(request_from_json(json.loads(line)))
    os._exit(0)


def request_to_json(request: ActionRequest) -> dict[str, Any]:
    """A request as plain JSON data."""
    return {
        "label": request.label,
        "key": str(request.key),
        "record": record_to_json(request.record),
        "files": {str(digest): str(path) for digest, path in request.files.items()},
        "lane": request.lane,
    }


def request_from_json(data: Mapping[str, Any]) -> ActionRequest:
    """The inverse of `request_to_json`."""
    return ActionRequest(
        label=data["label"],
        key=Digest.parse(data["key"]),
        record=record_from_json(data["record"]),
        files={Digest.parse(digest): Path(path) for digest, path in data["files"].items()},
        lane=data["lane"],
    )


def event_to_json(event: ActionEvent) -> dict[str, Any]:
    """An event as plain JSON data; errors are pickled, which is safe because only our own child process writes them."""
    match event:
        case Begun(label):
            return {"event": "begun", "label": label}
        case Progressed(label, done_bytes):
            return {"event": "progressed", "label": label, "done": done_bytes}
        case Finished(label, outputs, seconds, was_hit, diverged_from):
            return {
                "event": "finished",
                "label": label,
                "outputs": _outputs_to_json(outputs),
                "seconds": seconds,
                "was_hit": was_hit,
                "diverged_from": None if diverged_from is None else _outputs_to_json(diverged_from),
            }
        case Answered():
            raise TypeError("a worker asks no remote cache")
        case FailedAction(label, error):
            return {"event": "failed", "label": label, "error": base64.b64encode(pickle.dumps(error)).decode()}


def event_from_json(data: Mapping[str, Any]) -> ActionEvent:
    """The inverse of `event_to_json`."""
    match data["event"]:
        case "begun":
            return Begun(data["label"])
        case "progressed":
            return Progressed(data["label"], data["done"])
        case "finished":
            earlier = data["diverged_from"]
            return Finished(
                data["label"],
                _outputs_from_json(data["outputs"]),
                data["seconds"],
                data["was_hit"],
                None if earlier is None else _outputs_from_json(earlier),
            )
        case _:
            error = pickle.loads(base64.b64decode(data["error"]))
            return FailedAction(data["label"], error if isinstance(error, MlxbuildError) else MlxbuildError(str(error)))


def _outputs_to_json(outputs: Mapping[str, Blob]) -> dict[str, list[Any]]:
    return {name: [str(blob.digest), blob.size_bytes] for name, blob in outputs.items()}


def _outputs_from_json(data: Mapping[str, Any]) -> dict[str, Blob]:
    return {name: Blob(Digest.parse(digest), size) for name, (digest, size) in data.items()}


if __name__ == "__main__":
    main()
