"""Everything that goes wrong while a blob goes up: the upload mends it or says it, and nothing wrong arrives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.oci.remote import sessions
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.endpoint import Endpoint
from mlxbuild.registry.oci.remote.errors import (
    RegistryFailure,
    TransferCorrupt,
)
from mlxbuild.registry.oci.remote.response import Response
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.oci.remote.transport import Transport
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess
from tests.registry.oci.remote.conftest import HALF, NAME, Open
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy


@pytest.mark.parametrize("fault", [Fault("PATCH", status=503), Fault("PATCH", cut_request=0)], ids=["busy", "cut"])
def test_an_interrupted_upload_goes_on_at_its_last_chunk(
    remote: Remote,
    direct: Remote,
    proxy: FaultProxy,
    here: Blob,
    store: Store,
    fault: Fault,
    pauses: list[float],
) -> None:
    proxy.faults.append(replace(fault, skip=1))
    moved: list[int] = []
    sent = remote.upload_blob(here, store, moved.append)
    assert sum(moved) == here.size_bytes
    assert sent <= here.size_bytes + 800_000
    assert len(proxy.asked("POST")) == 1, "one session"
    assert len(proxy.asked("GET", "/uploads/")) == 1
    assert direct.has_blob(here.digest)


@pytest.mark.parametrize(
    "fault",
    [Fault("PATCH", cut_request=100_000), Fault("PATCH", cut_request=799_999), Fault("PATCH", truncate=0)],
    ids=["cut", "cut before the end", "answer lost"],
)
def test_a_chunk_that_came_in_part_begins_the_upload_again(
    remote: Remote,
    direct: Remote,
    proxy: FaultProxy,
    here: Blob,
    store: Store,
    fault: Fault,
    pauses: list[float],
) -> None:
    """distribution gives a session up when it holds more than the address it is asked at says."""
    proxy.faults.append(replace(fault, skip=1, headers={"Content-Length": "10"}))
    moved: list[int] = []
    remote.upload_blob(here, store, moved.append)
    assert sum(moved) == here.size_bytes
    assert len(proxy.asked("POST")) == 2
    assert direct.has_blob(here.digest)


@pytest.mark.parametrize("part", [1, 100_000, 799_999])
def test_a_registry_that_keeps_parts_of_chunks_gets_only_the_rest(
    remote: Remote,
    direct: Remote,
    proxy: FaultProxy,
    here: Blob,
    store: Store,
    part: int,
    pauses: list[float],
) -> None:
    proxy.faults.append(Fault("PATCH", skip=1, keep_request=part))
    moved: list[int] = []
    sent = remote.upload_blob(here, store, moved.append)
    assert sum(moved) == here.size_bytes
    assert sent <= here.size_bytes + 800_000 - part
    assert len(proxy.asked("POST")) == 1
    assert direct.has_blob(here.digest)


def test_a_lost_session_is_begun_again(
    remote: Remote, direct: Remote, proxy: FaultProxy, here: Blob, store: Store, pauses: list[float]
) -> None:
    proxy.faults += [
        Fault("PATCH", skip=1, status=404, code="BLOB_UPLOAD_UNKNOWN"),
        Fault("GET", "/uploads/", status=404, code="BLOB_UPLOAD_UNKNOWN"),
    ]
    remote.upload_blob(here, store)
    assert len(proxy.asked("POST")) == 2
    assert direct.has_blob(here.digest)


def test_chunks_are_as_large_as_the_registry_wants(
    remote: Remote, direct: Remote, proxy: FaultProxy, here: Blob, store: Store
) -> None:
    proxy.faults.append(Fault("POST", headers={"OCI-Chunk-Min-Length": "1500000"}))
    remote.upload_blob(here, store)
    assert len(proxy.asked("PATCH")) == 2
    assert direct.has_blob(here.digest)


def test_bytes_that_are_sent_elsewhere_go_without_credentials(
    plain_registry: RegistryProcess,
    proxy: FaultProxy,
    here: Blob,
    store: Store,
    open_remote: Open,
    docker_config: Path,
) -> None:
    """An address for an upload on another host."""
    (docker_config / "config.json").write_text(
        json.dumps({"auths": {proxy.host: {"username": "me", "password": "secret"}}})
    )
    proxy.faults.append(Fault("HEAD", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}))
    with FaultProxy(plain_registry.host) as elsewhere:
        target = f"http://{elsewhere.host}/v2/{NAME}/blobs/uploads/some?_state=x"
        proxy.faults.append(Fault("POST", status=202, headers={"Location": target}))
        elsewhere.faults.append(Fault("PUT", status=201))
        open_remote(f"{proxy.host}/{NAME}").upload_blob(here, store)
        assert [seen.authorization for seen in elsewhere.seen] == [None]
        assert f"&digest={here.digest}" in elsewhere.seen[0].path
    assert [bool(seen.authorization) for seen in proxy.seen] == [False, True, True]


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("/v2/x/blobs/uploads/1?a=b", "https://reg.acme.com/v2/x/blobs/uploads/1?a=b"),
        ("http://reg.acme.com/v2/x?a=b", "https://reg.acme.com/v2/x?a=b"),
        ("https://other.acme.com/v2/x", "https://other.acme.com/v2/x"),
        ("http://other.acme.com/v2/x", None),
        ("", None),
    ],
)
def test_addresses_of_uploads_stay_encrypted(told: str, address: str | None) -> None:
    transport = Transport(Endpoint("reg.acme.com", "reg.acme.com", "x"), Settings())
    answer = Response("POST", "https://reg.acme.com/v2/x/blobs/uploads/", 202, {"Location": told}, {}, b"")
    if address is None:
        with pytest.raises(RegistryFailure):
            sessions.location(transport, answer)
    else:
        assert sessions.location(transport, answer) == address


@pytest.mark.parametrize("status", [201, 400, 404, 405, 416, 501])
def test_a_registry_without_chunks_gets_the_whole(
    remote: Remote, direct: Remote, proxy: FaultProxy, here: Blob, store: Store, status: int
) -> None:
    proxy.faults.append(Fault("PATCH", status=status, times=99))
    remote.upload_blob(here, store)
    assert len(proxy.asked("PATCH")) == 1
    assert direct.has_blob(here.digest)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", "/uploads/", cut_request=HALF),
        Fault("PUT", "/uploads/", reset=-1),
        Fault("PUT", "/uploads/", status=503, times=2),
        Fault("POST", "/uploads/", status=429),
        Fault("PUT", "/uploads/", corrupt=HALF),
    ],
    ids=["cut", "reset", "busy", "too many", "corrupt"],
)
@pytest.mark.parametrize("chunk_bytes", [800_000, 10_000_000], ids=["chunks", "whole"])
def test_an_upload_comes_through(
    open_remote: Open,
    direct: Remote,
    proxy: FaultProxy,
    here: Blob,
    store: Store,
    fault: Fault,
    chunk_bytes: int,
    pauses: list[float],
) -> None:
    proxy.faults.append(replace(fault))
    moved: list[int] = []
    open_remote(f"{proxy.host}/{NAME}", chunk_bytes=chunk_bytes).upload_blob(here, store, moved.append)
    assert sum(moved) == here.size_bytes
    assert direct.has_blob(here.digest)


def test_a_lost_answer_to_the_last_request_is_looked_up(
    open_remote: Open, proxy: FaultProxy, here: Blob, store: Store, pauses: list[float]
) -> None:
    proxy.faults.append(Fault("PUT", "/uploads/", truncate=0, headers={"Content-Length": "10"}))
    remote = open_remote(f"{proxy.host}/{NAME}")
    assert remote.upload_blob(here, store) == here.size_bytes
    assert len(proxy.asked("PUT")) == 1


def test_bytes_that_are_changed_on_the_way_are_refused(
    open_remote: Open, direct: Remote, proxy: FaultProxy, here: Blob, store: Store
) -> None:
    proxy.faults.append(Fault("PUT", "/uploads/", corrupt=HALF, times=99))
    with pytest.raises(TransferCorrupt):
        open_remote(f"{proxy.host}/{NAME}").upload_blob(here, store)
    assert not direct.has_blob(here.digest)


def test_a_mount_that_becomes_an_upload_is_cancelled(remote: Remote, proxy: FaultProxy, here: Blob) -> None:
    assert not remote.mount_blob(here.digest, "acme/none")
    assert len(proxy.asked("DELETE", "/uploads/")) == 1


@pytest.mark.parametrize("fault", ["truncate", "reset", "corrupt"])
def test_a_copy_whose_source_fails_is_made_again(
    plain_registry: RegistryProcess,
    proxy: FaultProxy,
    open_remote: Open,
    there: Blob,
    fault: str,
    pauses: list[float],
) -> None:
    proxy.faults.append(Fault("GET", "/blobs/", **{fault: HALF}))  # type: ignore[arg-type]
    target = open_remote(f"{plain_registry.host}/acme/copies-{fault}")
    target.copy_blob(there, open_remote(f"{proxy.host}/{NAME}"))
    assert target.has_blob(there.digest)
