"""A cache on a real registry: a second machine builds without working, and trouble with it is only a warning."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from mlxbuild.registry.artifact.media_types import OCI_MANIFEST
from mlxbuild.registry.core.home import Home
from tests.mlxbuild.conftest import CommandLine
from tests.registries import RegistryProcess, docker_registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryProcess]:
    with docker_registry(tmp_path / "registry") as process:
        yield process


def _outcomes(program: CommandLine) -> dict[str, str]:
    report = json.loads(program("log", "last", "--json").out)
    return {action["label"]: action["outcome"] for action in report["actions"]}


def _traces(registry: RegistryProcess) -> Iterator[tuple[str, dict[str, Any]]]:
    """The address and the manifest of every trace in the cache."""
    repository = f"http://{registry.host}/v2/acme/cache"
    with urlopen(f"{repository}/tags/list") as answer:
        tags = json.load(answer)["tags"]
    for tag in tags:
        address = f"{repository}/manifests/{tag}"
        with urlopen(Request(address, headers={"Accept": OCI_MANIFEST})) as answer:
            yield address, json.load(answer)


def _parts(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [trace["config"], *trace["layers"]]


def _built_elsewhere(mlxbuild: CommandLine, repository: str, folder: Path, expected: str) -> CommandLine:
    """A second machine that has built the same from the cache; it was told the same."""
    second = CommandLine(mlxbuild.folder, Home(folder / "second"))
    done = second("create", "--cache-from", repository)
    assert done.out == expected, done.err
    return second


def test_a_second_machine_builds_without_working(
    mlxbuild: CommandLine, registry: RegistryProcess, tmp_path: Path
) -> None:
    repository = f"{registry.host}/acme/cache"
    first = mlxbuild("create", "--cache-to", repository)
    assert first.code == 0, first.err
    second = _built_elsewhere(mlxbuild, repository, tmp_path, first.out)
    assert set(_outcomes(second).values()) == {"hit"}
    assert second("verify", "tiny:int4").code == 0


def test_results_of_earlier_builds_are_uploaded_too_and_the_end_says_what_went(
    mlxbuild: CommandLine, registry: RegistryProcess, tmp_path: Path
) -> None:
    repository = f"{registry.host}/acme/cache"
    assert mlxbuild("create").code == 0
    first = mlxbuild("create", "--cache-to", repository)
    assert set(_outcomes(mlxbuild).values()) <= {"hit", "shared", "present"}
    count = len(list(_traces(registry)))
    assert re.search(rf"^remote cache: {count} results uploaded \([\d.]+ [kM]B\)$", first.err, re.MULTILINE), first.err
    again = mlxbuild("create", "--cache-to", repository)
    assert f"remote cache: 0 results uploaded (0 B), {count} there already\n" in again.err
    second = CommandLine(mlxbuild.folder, Home(tmp_path / "second"))
    found = second("create", "--cache-from", repository)
    assert set(_outcomes(second).values()) == {"hit"}
    assert re.search(r"^remote cache: \d+ found$", found.err, re.MULTILINE), found.err


def test_a_result_that_the_registry_lost_is_made_again(
    mlxbuild: CommandLine, registry: RegistryProcess, tmp_path: Path
) -> None:
    repository = f"{registry.host}/acme/cache"
    first = mlxbuild("create", "--cache-to", repository)
    largest = max(registry.blobs.rglob("data"), key=lambda path: path.stat().st_size)
    shutil.rmtree(largest.parent)
    second = _built_elsewhere(mlxbuild, repository, tmp_path, first.out)
    assert "ran" in _outcomes(second).values()
    assert second("verify", "tiny:none").code == 0


def test_small_results_come_with_their_trace(mlxbuild: CommandLine, registry: RegistryProcess, tmp_path: Path) -> None:
    repository = f"{registry.host}/acme/cache"
    first = mlxbuild("create", "--cache-to", repository)
    carried = {part["digest"] for _, trace in _traces(registry) for part in _parts(trace) if "data" in part}
    assert len(carried) > 20
    for digest in carried:
        shutil.rmtree(registry.blobs / digest.removeprefix("sha256:")[:2] / digest.removeprefix("sha256:"))
    second = _built_elsewhere(mlxbuild, repository, tmp_path, first.out)
    assert set(_outcomes(second).values()) == {"hit"}
    assert second("verify", "tiny:int4").code == 0


def test_what_a_trace_carries_counts_only_if_it_is_what_it_names(
    mlxbuild: CommandLine, registry: RegistryProcess, tmp_path: Path
) -> None:
    repository = f"{registry.host}/acme/cache"
    first = mlxbuild("create", "--cache-to", repository)
    for address, trace in _traces(registry):
        for part in _parts(trace):
            if "data" in part:
                part["data"] = b64encode(b"{}").decode()
        headers = {"Content-Type": trace["mediaType"]}
        urlopen(Request(address, json.dumps(trace).encode(), headers, method="PUT")).close()
    second = _built_elsewhere(mlxbuild, repository, tmp_path, first.out)
    assert set(_outcomes(second).values()) == {"hit"}
    assert second("verify", "tiny:int4").code == 0


def test_a_cache_that_cannot_be_reached_is_a_warning(mlxbuild: CommandLine) -> None:
    (mlxbuild.home.root).mkdir(parents=True)
    (mlxbuild.home.root / "config.yaml").write_text("attempts: 1\n")
    done = mlxbuild("create", "--cache-from", "127.0.0.1:9/acme/cache", "--cache-to", "127.0.0.1:9/acme/cache")
    assert done.code == 0, done.err
    assert done.err.count("warning: the remote cache cannot be used") >= 1


def test_a_push_mounts_what_the_cache_holds(mlxbuild: CommandLine, registry: RegistryProcess) -> None:
    cache = f"{registry.host}/acme/cache"
    assert mlxbuild("create", "--cache-to", cache).code == 0
    pushed = mlxbuild("push", "tiny:int4", f"{registry.host}/acme/tiny", "--mount-from", "acme/cache", "--json")
    (told,) = json.loads(pushed.out)
    assert (told["moved_bytes"], told["mounted_bytes"] > 0) == (0, True), pushed.err


def test_nothing_of_this_machine_or_its_secrets_reaches_the_cache(
    mlxbuild: CommandLine, registry: RegistryProcess
) -> None:
    secrets = {"HF_TOKEN": "hf_very-secret", "MLXBUILD_KEY_PASSWORD": "also-secret"}
    assert mlxbuild("create", "--cache-to", f"{registry.host}/acme/cache", env=secrets).code == 0
    stored = [path.read_bytes() for path in registry.blobs.rglob("data")]
    assert any(b"mlxbuild" in content for content in stored)
    hidden = [*secrets.values(), str(mlxbuild.home.root), str(mlxbuild.folder)]
    assert [text for text in hidden if any(text.encode() in content for content in stored)] == []
