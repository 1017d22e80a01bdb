"""The official ollama client for JavaScript, unmodified: it makes models, moves them by a real registry, stops them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients import node
from tests.mlxbuild.serving.conftest import ServeProcess
from tests.registries import docker_registry


@pytest.fixture(scope="module")
def registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of an empty registry."""
    with docker_registry(tmp_path_factory.mktemp("registry") / "open") as registry:
        yield registry.host


@pytest.fixture(scope="module")
def told(served: ServeProcess, registry_host: str) -> Any:
    """What the client got."""
    return node.run(node.HERE / "ollama_models.js", served.url, registry_host)


def statuses(pieces: list[dict[str, Any]]) -> list[str]:
    return [piece["status"] for piece in pieces]


def test_create_and_show(told: Any) -> None:
    assert statuses(told["created"])[-1] == "success"
    assert told["again"] == {"status": "success"}
    shown = told["shown"]
    assert "8bit" in shown["details"]["quantization_level"]
    assert 'SYSTEM """Be very brief."""' in shown["modelfile"]
    assert "num_predict                    7" in shown["parameters"]
    assert told["brief"]["eval_count"] == 7


def test_ps_and_stop(told: Any) -> None:
    assert "by-javascript:v1" in told["running"]
    assert told["unloaded"]["done_reason"] == "unload"
    assert "by-javascript:v1" not in told["stopped"]


def test_copy_push_delete_and_pull(told: Any, registry_host: str) -> None:
    name = f"{registry_host}/acme/by-javascript:v1"
    assert told["copied"] == told["deleted"] == {"status": "success"}
    pushed, pulled = told["pushed"], told["pulled"]
    assert [statuses(pushed)[0], statuses(pushed)[-1]] == ["retrieving manifest", "success"]
    assert [statuses(pulled)[0], statuses(pulled)[-1]] == ["pulling manifest", "success"]
    moved = {piece["digest"]: piece for piece in pushed if "digest" in piece}
    assert moved
    assert all(piece["completed"] == piece["total"] for piece in moved.values())
    assert name not in told["gone"]
    assert name in told["there"]
    assert told["answer"]["message"] == told["brief"]["message"]
    assert told["whole"] == [{"status": "success"}] * 2
    assert not {"by-javascript:v1", "by-javascript:v2", name} & set(told["left"])


def test_errors(told: Any) -> None:
    assert told["uncreatable"]["status"] == 400
    assert "there is no quantization" in told["uncreatable"]["message"]
    assert told["unpullable"]["status"] >= 400
    assert told["unstreamable"]["message"]
    assert told["uncopyable"] == {"name": "ResponseError", "status": 404, "message": 'model "nobody" not found'}
    assert told["undeletable"] == {"name": "ResponseError", "status": 404, "message": "model 'nobody' not found"}


def test_abort(told: Any) -> None:
    assert [failure["name"] for failure in told["aborted"]] == ["AbortError", "AbortError"]
