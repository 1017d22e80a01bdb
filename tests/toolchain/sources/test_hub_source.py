"""The Hub through its real client: revisions, lists, ranges, downloads, resuming, pauses, its cache."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.toolchain.sources.errors import (
    AccessDenied,
    GatedRepository,
    HubRateLimited,
    HubUnreachable,
    Offline,
    RepositoryMissing,
    RevisionMissing,
    SourceMissing,
)
from mlxbuild.toolchain.sources.hub import Hub
from tests.hub_server import Fault, LocalHub

_WEIGHTS = bytes(range(256)) * 1000
_FILES = {"config.json": b"{}", "model.safetensors": _WEIGHTS, "sub/deep.json": b"[]"}


def test_a_revision_is_a_commit(local_hub: LocalHub) -> None:
    first = local_hub.publish("acme/tiny", _FILES)
    local_hub.publish("acme/tiny", _FILES, "v1")
    second = local_hub.publish("acme/tiny", {**_FILES, "config.json": b"{ }"})
    hub = Hub()
    assert hub.commit("acme/tiny", "main") == second != first
    assert hub.commit("acme/tiny", "v1") == first
    assert hub.commit("acme/tiny", first[:9]) == first


def test_files_are_listed_with_sizes_and_digests(local_hub: LocalHub) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    top = Hub().files("acme/tiny", commit)
    assert [file.path for file in top] == ["config.json", "model.safetensors"]
    assert [file.path for file in Hub().files("acme/tiny", commit, recursive=True)] == sorted(_FILES)
    config, weights = top
    assert (config.size_bytes, config.sha256) == (2, None)
    assert config.git_id == "9e26dfeeb6e641a33dae4961196235bdb965b21b"  # git hash-object of `{}`
    assert (weights.size_bytes, weights.sha256) == (len(_WEIGHTS), Digest.of_bytes(_WEIGHTS))


@pytest.mark.parametrize("no_range", [False, True])
def test_only_what_is_asked_for_is_read(local_hub: LocalHub, no_range: bool) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    local_hub.faults.append(Fault("blob", no_range=no_range))
    read = Hub().reader("acme/tiny", commit, "model.safetensors")
    assert read(0, 8) == _WEIGHTS[:8]
    assert read(8, 5000) == _WEIGHTS[8:5008]
    assert local_hub.count("blob") == 1
    assert read(100, 100_000) == _WEIGHTS[100:100_100]
    assert [request.range for request in local_hub.requests if request.route == "blob"] == [
        "bytes=0-65535",
        "bytes=100-100099",
    ]


@pytest.mark.parametrize(
    "fault", [Fault("blob", truncate=100, times=1), Fault("blob", status=429, retry_after=3, times=2)]
)
def test_a_range_that_breaks_off_is_asked_for_again(local_hub: LocalHub, pauses: list[float], fault: Fault) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    local_hub.faults.append(dataclasses.replace(fault))
    assert Hub().reader("acme/tiny", commit, "model.safetensors")(0, 1000) == _WEIGHTS[:1000]
    if fault.truncate:
        (pause,) = pauses
        assert 0.5 <= pause <= 1
    else:
        assert pauses == [3, 3]


def test_a_download_lands_in_the_clients_cache_once(local_hub: LocalHub) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    hub, pieces = Hub(), list[int]()
    assert list(hub.cached("acme/tiny", commit, "model.safetensors", Digest.of_bytes(_WEIGHTS))) == []
    path = hub.download("acme/tiny", commit, "model.safetensors", progress=pieces.append)
    assert path.read_bytes() == _WEIGHTS
    assert path.is_relative_to(hub.settings.cache)
    assert sum(pieces) == len(_WEIGHTS)
    assert hub.download("acme/tiny", commit, "model.safetensors") == path
    assert local_hub.count("blob") == 1
    assert path in list(hub.cached("acme/tiny", commit, "model.safetensors"))
    other = hub.cached("acme/tiny", "0" * 40, "renamed.safetensors", Digest.of_bytes(_WEIGHTS))
    assert [copy.read_bytes() for copy in other] == [_WEIGHTS]


def test_a_body_that_breaks_off_is_resumed(local_hub: LocalHub, pauses: list[float]) -> None:
    data = bytes(11 * 1024 * 1024)  # the client keeps what it has in pieces of 10 MiB
    commit = local_hub.publish("acme/tiny", {"model.safetensors": data})
    local_hub.faults.append(Fault("blob", method="GET", truncate=len(data) - 1000, times=1))
    path = Hub().download("acme/tiny", commit, "model.safetensors")
    assert path.read_bytes() == data
    ranges = [request.range for request in local_hub.requests if request.route == "blob" and request.method == "GET"]
    assert ranges == [None, f"bytes={10 * 1024 * 1024}-"]
    assert pauses


@pytest.mark.parametrize(("route", "method"), [("info", "GET"), ("tree", "GET"), ("resolve", "HEAD"), ("blob", "GET")])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_that_passes_is_waited_for(
    local_hub: LocalHub, pauses: list[float], route: str, method: str, status: int
) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    retry_after = 7 if status == 429 else None
    local_hub.faults.append(Fault(route, method=method, status=status, retry_after=retry_after, times=2))
    hub = Hub()
    assert hub.commit("acme/tiny", "main") == commit
    assert len(hub.files("acme/tiny", commit)) == 2
    assert hub.download("acme/tiny", commit, "model.safetensors").read_bytes() == _WEIGHTS
    if retry_after is not None:
        assert max(pauses) >= retry_after
    assert local_hub.faults[0].times == 0
    assert pauses


@pytest.mark.parametrize("route", ["info", "tree", "resolve", "blob"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("", status=503), HubUnreachable),
        (Fault("", status=429, retry_after=1), HubRateLimited),
        (Fault("", status=401, message="Invalid credentials in Authorization header"), AccessDenied),
        (Fault("", status=403, message="no"), AccessDenied),
        (Fault("", status=418), HubUnreachable),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
@pytest.mark.usefixtures("pauses")
def test_a_failure_that_stays_is_named(
    local_hub: LocalHub, route: str, fault: Fault, error: type[MlxbuildError]
) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    local_hub.faults.append(Fault(route, status=fault.status, retry_after=fault.retry_after, message=fault.message))
    hub = Hub()
    with pytest.raises(error) as caught:
        _use_everything(hub, commit)
    assert caught.value.hint
    assert "acme/tiny" in str(caught.value.where)
    assert caught.value.exit_code == (2 if error is AccessDenied else 5)


def _use_everything(hub: Hub, commit: str) -> None:
    hub.commit("acme/tiny", "main")
    hub.files("acme/tiny", commit)
    hub.reader("acme/tiny", commit, "model.safetensors")(0, 8)
    hub.download("acme/tiny", commit, "model.safetensors")


@pytest.mark.usefixtures("pauses")
def test_a_pause_that_is_too_long_is_not_made(local_hub: LocalHub) -> None:
    local_hub.publish("acme/tiny", _FILES)
    local_hub.faults.append(Fault("info", status=429, retry_after=3600))
    with pytest.raises(HubRateLimited, match="3600 s"):
        Hub().commit("acme/tiny", "main")
    assert local_hub.count("info") == 1


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize("route", ["info", "tree"])
def test_an_answer_that_is_none_of_a_hub_is_named(local_hub: LocalHub, route: str) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    local_hub.faults.append(Fault(route, garbage=True))
    with pytest.raises(HubUnreachable) as caught:
        _use_everything(Hub(), commit)
    assert "HF_ENDPOINT" in str(caught.value.hint)


@pytest.mark.usefixtures("pauses")
def test_a_hub_that_is_not_there_is_named(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for use in (
        lambda hub: hub.commit("acme/tiny", "main"),
        lambda hub: hub.files("acme/tiny", commit),
        lambda hub: hub.download("acme/tiny", commit, "config.json"),
        lambda hub: hub.reader("acme/tiny", commit, "config.json")(0, 1),
    ):
        with pytest.raises(HubUnreachable, match=r"http://127\.0\.0\.1:9"):
            use(Hub())


def test_what_is_not_there_is_named(local_hub: LocalHub) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    hub = Hub()
    for name in ("acme/other", "acme//", "a/b/c"):
        with pytest.raises(RepositoryMissing, match=f"`{name}`"):
            hub.commit(name, "main")
    with pytest.raises(RevisionMissing, match="`v9`"):
        hub.commit("acme/tiny", "v9")
    with pytest.raises(RevisionMissing):
        hub.files("acme/tiny", "0" * 40)
    with pytest.raises(SourceMissing, match=r"`gone\.json`"):
        hub.download("acme/tiny", commit, "gone.json")


def test_a_gated_repository_opens_with_a_token(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = local_hub.publish("acme/gated", _FILES)
    local_hub.gated.add("acme/gated")
    local_hub.private["acme/gated"] = "hf_letmein12345"
    for token in ("", "hf_somebodyelse"):
        monkeypatch.setenv("HF_TOKEN", token)
        assert Hub().commit("acme/gated", "main") == commit  # that it exists, everybody may know
        with pytest.raises(GatedRepository) as caught:
            Hub().files("acme/gated", commit)
        assert f"{local_hub.endpoint}/acme/gated" in str(caught.value.hint)
        with pytest.raises(GatedRepository):
            Hub().download("acme/gated", commit, "model.safetensors")
    monkeypatch.setenv("HF_TOKEN", "hf_letmein12345")
    assert Hub().download("acme/gated", commit, "model.safetensors").read_bytes() == _WEIGHTS


def test_a_private_repository_looks_missing_without_a_token(
    local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = local_hub.publish("acme/private", _FILES)
    local_hub.private["acme/private"] = "hf_letmein12345"
    with pytest.raises(RepositoryMissing, match="acme/private") as caught:
        Hub().commit("acme/private", "main")
    assert "HF_TOKEN" in str(caught.value.hint)
    monkeypatch.setenv("HF_TOKEN", "hf_letmein12345")
    assert Hub().commit("acme/private", "main") == commit


def test_offline_asks_nobody(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)
    path = Hub().download("acme/tiny", commit, "config.json")
    asked = len(local_hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub = Hub()
    assert list(hub.cached("acme/tiny", commit, "config.json")) == [path]
    for use in (
        lambda: hub.commit("acme/tiny", "main"),
        lambda: hub.files("acme/tiny", commit),
        lambda: hub.download("acme/tiny", commit, "model.safetensors"),
        lambda: hub.reader("acme/tiny", commit, "model.safetensors")(0, 8),
    ):
        with pytest.raises(Offline) as caught:
            use()
        assert caught.value.exit_code == 5
        assert "HF_HUB_OFFLINE" in caught.value.message
    assert len(local_hub.requests) == asked


def test_a_transfer_ends_when_the_build_is_stopped(local_hub: LocalHub) -> None:
    commit = local_hub.publish("acme/tiny", _FILES)

    class Stopped(MlxbuildError):
        pass

    def stop() -> None:
        raise Stopped("stopped")

    hub = Hub()
    with pytest.raises(Stopped):
        hub.download("acme/tiny", commit, "model.safetensors", checkpoint=stop)
    assert [path for path in hub.settings.cache.rglob("*.incomplete") if path.is_file()] == []
    assert local_hub.count("blob") == 1


@pytest.mark.usefixtures("local_hub")
def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Hub().settings.cache == tmp_path / "huggingface" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert Hub().settings.cache == tmp_path / "elsewhere"
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Hub().settings.cache == tmp_path / "xdg" / "huggingface" / "hub"
