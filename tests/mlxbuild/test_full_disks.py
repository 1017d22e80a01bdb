"""What commands and servers do on a disk that is full: they say so, remove what they are asked to, and lose nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from tests.disks import fill, resize, small_disk
from tests.mlxbuild.conftest import CommandLine, Outcome
from tests.mlxbuild.serving.conftest import serving
from tests.registries import docker_registry


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of one megabyte."""
    with small_disk(tmp_path / "small", "1m") as disk:
        yield disk


def refused(outcome: Outcome) -> None:
    """It was said that the disk is full, and what helps."""
    assert (outcome.code, "error[disk-full]" in outcome.err) == (6, True), outcome.err
    assert "`mlxbuild rm` and `mlxbuild gc` work on a full disk" in outcome.err


def test_builds_and_pulls_are_refused_and_go_on_when_there_is_room(
    mlxbuild: CommandLine, small: Path, tmp_path: Path
) -> None:
    expected = mlxbuild.built()
    cramped = CommandLine(mlxbuild.folder, Home(small / "home"))
    assert cramped("list").code == 0
    with docker_registry(tmp_path / "registry") as registry:
        there = f"{registry.host}/acme/tiny:int4"
        assert mlxbuild("push", "tiny:int4", there).code == 0
        refused(cramped("create"))
        ballast = fill(small)
        refused(cramped("pull", there))
        assert list((cramped.home.cache / "tmp").iterdir()) == []
        ballast.unlink()
        resize(small, "64m")
        assert cramped("pull", there).code == 0
    assert cramped("verify", there).code == 0
    assert cramped.built() == expected
    assert cramped("verify", "tiny:int4").code == 0


def test_names_and_what_nothing_needs_go_from_a_full_disk(mlxbuild: CommandLine, small: Path) -> None:
    resize(small, "64m")
    cramped = CommandLine(mlxbuild.folder, Home(small / "home"))
    kept, other = cramped.built(), cramped.built("none")
    fill(small)
    assert "tiny:none" in cramped("list").out
    refused(cramped("cp", "tiny:none", "another"))
    assert "removed tiny:none-1.0" in cramped("rm", "--all-names", other).out
    collected = cramped("gc", "--grace", "0")
    assert (collected.code, collected.err) == (0, "")
    assert not cramped.store.has(Digest.parse(other))
    assert cramped("verify", kept).code == 0
    assert cramped("cp", kept, "another").code == 0


def test_a_server_answers_on_a_full_disk_and_removes_models(mlxbuild: CommandLine, small: Path) -> None:
    resize(small, "64m")
    home = Home(small / "home")
    CommandLine(mlxbuild.folder, home).built()
    fill(small)
    question = {"model": "tiny:int4", "prompt": "Hi", "stream": False, "options": {"num_predict": 2}}
    with serving(home) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        answer = client.post("/api/generate", json=question)
        assert answer.status_code == 200, answer.text
        copied = client.post("/api/copy", json={"source": "tiny:int4", "destination": "another"})
        assert (copied.status_code, copied.json()["code"]) == (507, "disk-full")
        for name in ("tiny:none", "tiny:none-1.0"):
            assert client.request("DELETE", "/api/delete", json={"model": name}).status_code == 200
        (small / "ballast").unlink()
        assert client.post("/api/copy", json={"source": "tiny:int4", "destination": "another"}).status_code == 200
        server.process.terminate()
        server.process.wait(timeout=60)
        assert server.process.stderr is not None
        told = server.process.stderr.read()
    assert told.count("the log cannot be written to: No space left on device") == 1
    assert "Traceback" not in told
    assert "api/copy" in (home.logs / "serve.jsonl").read_text().splitlines()[-2]
