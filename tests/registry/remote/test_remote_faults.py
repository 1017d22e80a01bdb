"""Everything that goes wrong between here and a registry: the transfer mends it or says it, and nothing wrong stays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from registry.digest import Blob, Digest
from registry.remote import manifests, sessions
from registry.remote.answer import Answer
from registry.remote.client import Remote
from registry.remote.endpoint import Endpoint
from registry.remote.errors import (
    RegistryBusy,
    RegistryFailure,
    RegistryRefused,
    RegistryUnreachable,
    TransferCorrupt,
)
from registry.remote.settings import Settings
from registry.remote.transport import Transport
from registry.store.layout import Store
from tests.registries import RegistryProcess
from tests.registry.remote.fault_proxy import Fault, FaultProxy

Open = Callable[..., Remote]
CONTENT = bytes(range(256)) * 8_000
HALF = 1_000_000
NAME = "acme/faults"


@pytest.fixture
def proxy(plain_registry: RegistryProcess) -> Iterator[FaultProxy]:
    with FaultProxy(plain_registry.host) as running:
        yield running


@pytest.fixture
def direct(plain_registry: RegistryProcess, open_remote: Open) -> Remote:
    """The repository without the proxy."""
    return open_remote(f"{plain_registry.host}/{NAME}")


@pytest.fixture
def remote(proxy: FaultProxy, open_remote: Open) -> Remote:
    """The repository through the proxy, in chunks that make three of the content."""
    return open_remote(f"{proxy.host}/{NAME}", chunk_bytes=800_000, read_seconds=1.0)


@pytest.fixture
def there(direct: Remote, store: Store) -> Blob:
    """A blob that only the registry holds."""
    blob = store.put(CONTENT)
    direct.upload_blob(blob, store)
    store.remove(blob.digest)
    return blob


@pytest.fixture
def here(store: Store, tmp_path: Path) -> Blob:
    """A blob that only the store holds."""
    return store.put(str(tmp_path).encode() + CONTENT)


def kept(store: Store, blob: Blob) -> int | None:
    """How many bytes of a blob wait for the next fetch."""
    path = store.home.cache / "partial" / blob.digest.hex
    return path.stat().st_size if path.exists() else None


class TestDownload:
    def test_a_reset_fetch_comes_through(
        self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store, pauses: list[float]
    ) -> None:
        """What had arrived and was not read yet is lost with the connection."""
        proxy.faults.append(Fault("GET", "/blobs/", reset=HALF, times=2))
        remote.download_blob(there, store)
        store.verify(there.digest)

    @pytest.mark.parametrize("fault", ["truncate", "stall"])
    def test_an_interrupted_fetch_goes_on_where_it_stopped(
        self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store, fault: str, pauses: list[float]
    ) -> None:
        proxy.faults.append(Fault("GET", "/blobs/", **{fault: HALF}))  # type: ignore[arg-type]
        moved: list[int] = []
        assert remote.download_blob(there, store, moved.append) == len(CONTENT)
        assert sum(moved) == len(CONTENT)
        assert [seen.range for seen in proxy.asked("GET", "/blobs/")] == [None, f"bytes={HALF}-"]
        store.verify(there.digest)

    def test_an_ended_fetch_is_continued_by_the_next(
        self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store
    ) -> None:
        def give_up(count: int) -> None:
            nonlocal passed
            passed += count
            if passed >= HALF:
                raise KeyboardInterrupt

        passed = 0
        with pytest.raises(KeyboardInterrupt):
            remote.download_blob(there, store, give_up)
        assert not store.has(there.digest)
        held = kept(store, there)
        assert held is not None
        assert HALF <= held < len(CONTENT)
        assert remote.download_blob(there, store) == len(CONTENT) - held
        store.verify(there.digest)

    def test_a_whole_partial_needs_no_request(
        self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store
    ) -> None:
        partial = store.home.cache / "partial" / there.digest.hex
        partial.parent.mkdir(parents=True)
        partial.write_bytes(CONTENT)
        assert remote.download_blob(there, store) == 0
        assert proxy.seen == []
        store.verify(there.digest)

    @pytest.mark.parametrize("bad", [CONTENT[:HALF][::-1], CONTENT + b"more", CONTENT[::-1]])
    def test_a_bad_partial_is_thrown_away(self, remote: Remote, there: Blob, store: Store, bad: bytes) -> None:
        partial = store.home.cache / "partial" / there.digest.hex
        partial.parent.mkdir(parents=True)
        partial.write_bytes(bad)
        remote.download_blob(there, store)
        store.verify(there.digest)

    def test_a_partial_that_is_a_link_is_not_written_through(
        self, remote: Remote, there: Blob, store: Store, tmp_path: Path
    ) -> None:
        (tmp_path / "precious").write_bytes(b"precious")
        partial = store.home.cache / "partial" / there.digest.hex
        partial.parent.mkdir(parents=True)
        partial.symlink_to(tmp_path / "precious")
        with pytest.raises(Exception, match="refused"):
            remote.download_blob(there, store)
        assert (tmp_path / "precious").read_bytes() == b"precious"

    def test_a_corrupted_byte_is_found_and_fetched_again(
        self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store
    ) -> None:
        proxy.faults.append(Fault("GET", "/blobs/", corrupt=HALF))
        moved: list[int] = []
        assert remote.download_blob(there, store, moved.append) == 2 * len(CONTENT)
        assert sum(moved) == len(CONTENT)
        store.verify(there.digest)

    def test_bytes_that_stay_corrupt_are_refused_and_not_kept(
        self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store
    ) -> None:
        proxy.faults.append(Fault("GET", "/blobs/", corrupt=HALF, times=9))
        with pytest.raises(TransferCorrupt) as caught:
            remote.download_blob(there, store)
        assert caught.value.exit_code == 10
        assert str(there.digest) in str(caught.value.where)
        assert not store.has(there.digest)
        assert kept(store, there) is None

    @pytest.mark.parametrize("told", ["bytes 0-9/2048000", "bytes 1000001-2047999/2048000", "bytes 7", "", "lies"])
    def test_a_lie_about_the_part_is_answered_by_asking_for_the_whole(
        self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store, told: str
    ) -> None:
        proxy.faults += [
            Fault("GET", "/blobs/", truncate=HALF),
            Fault("GET", "/blobs/", headers={"Content-Range": told}),
        ]
        remote.download_blob(there, store)
        assert [seen.range for seen in proxy.asked("GET", "/blobs/")] == [None, f"bytes={HALF}-", None]
        store.verify(there.digest)

    def test_a_part_of_other_bytes_is_found(self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store) -> None:
        """A proxy that cuts the beginning off and calls it the part that was asked for."""
        told = {"Content-Range": f"bytes {HALF}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        shifted = CONTENT[HALF - 5 : -5]
        proxy.faults += [
            Fault("GET", "/blobs/", truncate=HALF),
            Fault("GET", "/blobs/", status=206, body=shifted, headers=told),
        ]
        remote.download_blob(there, store)
        store.verify(there.digest)

    def test_a_registry_without_parts_sends_the_whole_again(
        self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store
    ) -> None:
        proxy.faults += [Fault("GET", "/blobs/", truncate=HALF), Fault("GET", "/blobs/", no_range=True)]
        moved: list[int] = []
        remote.download_blob(there, store, moved.append)
        assert sum(moved) == len(CONTENT)
        store.verify(there.digest)

    def test_a_registry_that_never_comes_further_ends_the_fetch(
        self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store, pauses: list[float]
    ) -> None:
        proxy.faults.append(Fault("GET", "/blobs/", truncate=HALF, no_range=True, times=99))
        with pytest.raises(RegistryUnreachable):
            remote.download_blob(there, store)
        assert len(proxy.asked("GET", "/blobs/")) == 4, "one that came further, and three that did not"
        assert kept(store, there) == HALF

    @pytest.mark.parametrize("difference", [-1, 1])
    def test_another_size_than_the_manifest_says_is_refused(
        self, remote: Remote, there: Blob, store: Store, difference: int
    ) -> None:
        with pytest.raises(TransferCorrupt):
            remote.download_blob(Blob(there.digest, there.size_bytes + difference), store)
        assert not store.has(there.digest)
        assert kept(store, there) is None

    def test_endless_bytes_end(self, remote: Remote, proxy: FaultProxy, there: Blob, store: Store) -> None:
        """More bytes than announced, in an answer without a length."""
        proxy.faults.append(
            Fault(
                "GET", "/blobs/", status=200, body=CONTENT * 2, headers={"Content-Length": ""}, truncate=None, times=9
            )
        )
        with pytest.raises((TransferCorrupt, RegistryFailure)):
            remote.download_blob(there, store)
        assert not store.has(there.digest)


class TestRetries:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_a_passing_refusal_is_asked_again_after_the_pause_it_wants(
        self, remote: Remote, proxy: FaultProxy, there: Blob, pauses: list[float], status: int
    ) -> None:
        proxy.faults.append(Fault("HEAD", "/blobs/", status=status, headers={"Retry-After": "7"}, times=2))
        assert remote.has_blob(there.digest)
        assert pauses == [7.0, 7.0]

    def test_a_date_is_a_pause_too(self, remote: Remote, proxy: FaultProxy, there: Blob, pauses: list[float]) -> None:
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
        proxy.faults.append(Fault("HEAD", "/blobs/", status=503, headers={"Retry-After": date}))
        assert remote.has_blob(there.digest)
        assert len(pauses) == 1
        assert 20 < pauses[0] <= 30

    def test_patience_ends(self, remote: Remote, proxy: FaultProxy, there: Blob, pauses: list[float]) -> None:
        proxy.faults.append(Fault("HEAD", "/blobs/", status=503, times=99))
        with pytest.raises(RegistryBusy) as caught:
            remote.has_blob(there.digest)
        assert caught.value.exit_code == 5
        assert caught.value.status == 503
        assert len(proxy.seen) == 3

    def test_nobody_waits_for_an_hour(
        self, remote: Remote, proxy: FaultProxy, there: Blob, pauses: list[float]
    ) -> None:
        proxy.faults.append(Fault("HEAD", "/blobs/", status=429, headers={"Retry-After": "3600"}, times=99))
        with pytest.raises(RegistryBusy) as caught:
            remote.has_blob(there.digest)
        assert caught.value.retry_after == 3600
        assert pauses == []

    def test_nobody_waits_for_an_hour_in_a_transfer_either(
        self, remote: Remote, proxy: FaultProxy, there: Blob, here: Blob, store: Store, pauses: list[float]
    ) -> None:
        hour = {"Retry-After": "3600"}
        proxy.faults += [Fault(method, "/blobs/", status=503, headers=hour, times=99) for method in ("GET", "POST")]
        with pytest.raises(RegistryBusy):
            remote.download_blob(there, store)
        with pytest.raises(RegistryBusy):
            remote.upload_blob(here, store)
        assert pauses == []

    def test_patience_is_not_multiplied(
        self, remote: Remote, proxy: FaultProxy, there: Blob, here: Blob, store: Store, pauses: list[float]
    ) -> None:
        proxy.faults += [Fault(method, "/blobs/", status=503, times=99) for method in ("GET", "POST")]
        with pytest.raises(RegistryBusy):
            remote.download_blob(there, store)
        with pytest.raises(RegistryBusy):
            remote.upload_blob(here, store)
        assert len(proxy.asked("GET")) == len(proxy.asked("POST")) == 3

    @pytest.mark.parametrize("status", [400, 403, 405, 410, 451])
    def test_other_refusals_are_final(self, remote: Remote, proxy: FaultProxy, there: Blob, status: int) -> None:
        proxy.faults.append(Fault("GET", "/manifests/", status=status, code="BAD\u001b[31m", times=99))
        with pytest.raises(RegistryFailure) as caught:
            remote.get_manifest("v1")
        assert len(proxy.seen) == 1
        assert caught.value.status == status
        assert "\u001b" not in caught.value.diagnostics()
        assert "by the proxy" in caught.value.message
        assert isinstance(caught.value, RegistryRefused) == (status == 403)

    def test_a_reset_connection_is_tried_again(
        self, remote: Remote, proxy: FaultProxy, there: Blob, pauses: list[float]
    ) -> None:
        proxy.faults.append(Fault("HEAD", "/blobs/", reset=-1, times=2))
        assert remote.has_blob(there.digest)

    def test_a_closed_port_is_told_soon(self, open_remote: Open, pauses: list[float]) -> None:
        with pytest.raises(RegistryUnreachable, match="refused"):
            open_remote("127.0.0.1:1/acme/x", attempts=50).has_blob(Digest.of_bytes(b""))
        assert len(pauses) <= 2

    def test_silence_ends_at_the_time_limit(self, proxy: FaultProxy, open_remote: Open, there: Blob) -> None:
        proxy.faults.append(Fault("GET", "/manifests/", status=200, body=b"{}", stall=1, times=9))
        with pytest.raises(RegistryUnreachable):
            open_remote(f"{proxy.host}/{NAME}", read_seconds=0.2, attempts=1).get_manifest("v1")


class TestRedirects:
    def test_a_blob_elsewhere_is_fetched_without_our_credentials(
        self,
        plain_registry: RegistryProcess,
        proxy: FaultProxy,
        remote: Remote,
        there: Blob,
        store: Store,
        docker_config: Path,
    ) -> None:
        (docker_config / "config.json").write_text(
            json.dumps({"auths": {proxy.host: {"username": "me", "password": "secret"}}})
        )
        with FaultProxy(plain_registry.host) as elsewhere:
            target = f"http://{elsewhere.host}/v2/{NAME}/blobs/{there.digest}?signature=secret"
            proxy.faults += [
                Fault("GET", "/blobs/", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}),
                Fault("GET", "/blobs/", status=307, headers={"Location": target}, times=2),
            ]
            elsewhere.faults.append(Fault("GET", "/blobs/", truncate=HALF))
            remote.download_blob(there, store)
            assert [seen.authorization for seen in elsewhere.seen] == [None, None]
            assert [seen.range for seen in elsewhere.seen] == [None, f"bytes={HALF}-"]
        assert [bool(seen.authorization) for seen in proxy.seen] == [False, True, True]
        store.verify(there.digest)

    def test_a_refusal_elsewhere_gets_no_credentials_either(
        self, plain_registry: RegistryProcess, proxy: FaultProxy, remote: Remote, there: Blob, docker_config: Path
    ) -> None:
        (docker_config / "config.json").write_text(
            json.dumps({"auths": {proxy.host: {"username": "me", "password": "secret"}}})
        )
        with FaultProxy(plain_registry.host) as elsewhere:
            target = f"http://{elsewhere.host}/stolen"
            proxy.faults.append(Fault("HEAD", "/blobs/", status=302, headers={"Location": target}, times=9))
            elsewhere.faults.append(Fault("HEAD", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}, times=9))
            with pytest.raises(RegistryRefused):
                remote.has_blob(there.digest)
            assert [seen.authorization for seen in elsewhere.seen] == [None]

    def test_endless_redirects_end(self, proxy: FaultProxy, remote: Remote, there: Blob) -> None:
        proxy.faults.append(Fault("HEAD", "/blobs/", status=302, headers={"Location": "/v2/acme/blobs/x"}, times=99))
        with pytest.raises(RegistryFailure, match="without end"):
            remote.has_blob(there.digest)
        assert len(proxy.seen) < 10

    @pytest.mark.parametrize("told", ["http://[", "http://127.0.0.1:99999/x", "ftp://acme.com/x", "file:///x"])
    def test_addresses_that_are_none_are_refused(
        self, proxy: FaultProxy, remote: Remote, there: Blob, here: Blob, store: Store, told: str
    ) -> None:
        proxy.faults += [
            Fault("GET", "/blobs/", status=307, headers={"Location": told}),
            Fault("POST", "/uploads/", status=202, headers={"Location": told}),
            Fault("GET", "/tags/", status=200, body=b'{"tags": []}', headers={"Link": f"<{told}>; rel=next"}),
            Fault("GET", "/manifests/", status=401, headers={"WWW-Authenticate": f'Bearer realm="{told}"'}),
        ]
        for attempt in (
            lambda: remote.download_blob(there, store),
            lambda: remote.upload_blob(here, store),
            lambda: list(remote.tags()),
            lambda: remote.get_manifest("v1"),
        ):
            with pytest.raises(RegistryFailure):
                attempt()

    def test_addresses_are_told_without_their_secrets(
        self, proxy: FaultProxy, remote: Remote, there: Blob, store: Store
    ) -> None:
        target = f"http://user:hidden@{proxy.host}/v2/gone/blobs/{there.digest}?signature=hidden"
        proxy.faults += [
            Fault("GET", f"{NAME}/blobs/", status=307, headers={"Location": target}),
            Fault("GET", "/gone/", status=403),
        ]
        with pytest.raises(RegistryRefused) as caught:
            remote.download_blob(there, store)
        assert "hidden" not in caught.value.diagnostics()


class TestUpload:
    @pytest.mark.parametrize("fault", [Fault("PATCH", status=503), Fault("PATCH", cut_request=0)], ids=["busy", "cut"])
    def test_an_interrupted_upload_goes_on_at_its_last_chunk(
        self,
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
        self,
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
        self,
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
        self, remote: Remote, direct: Remote, proxy: FaultProxy, here: Blob, store: Store, pauses: list[float]
    ) -> None:
        proxy.faults += [
            Fault("PATCH", skip=1, status=404, code="BLOB_UPLOAD_UNKNOWN"),
            Fault("GET", "/uploads/", status=404, code="BLOB_UPLOAD_UNKNOWN"),
        ]
        remote.upload_blob(here, store)
        assert len(proxy.asked("POST")) == 2
        assert direct.has_blob(here.digest)

    def test_chunks_are_as_large_as_the_registry_wants(
        self, remote: Remote, direct: Remote, proxy: FaultProxy, here: Blob, store: Store
    ) -> None:
        proxy.faults.append(Fault("POST", headers={"OCI-Chunk-Min-Length": "1500000"}))
        remote.upload_blob(here, store)
        assert len(proxy.asked("PATCH")) == 2
        assert direct.has_blob(here.digest)

    def test_bytes_that_are_sent_elsewhere_go_without_credentials(
        self,
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
    def test_addresses_of_uploads_stay_encrypted(self, told: str, address: str | None) -> None:
        transport = Transport(Endpoint("reg.acme.com", "reg.acme.com", "x"), Settings())
        answer = Answer("POST", "https://reg.acme.com/v2/x/blobs/uploads/", 202, {"Location": told}, {}, b"")
        if address is None:
            with pytest.raises(RegistryFailure):
                sessions.location(transport, answer)
        else:
            assert sessions.location(transport, answer) == address

    @pytest.mark.parametrize("status", [201, 400, 404, 405, 416, 501])
    def test_a_registry_without_chunks_gets_the_whole(
        self, remote: Remote, direct: Remote, proxy: FaultProxy, here: Blob, store: Store, status: int
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
        self,
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
        self, open_remote: Open, proxy: FaultProxy, here: Blob, store: Store, pauses: list[float]
    ) -> None:
        proxy.faults.append(Fault("PUT", "/uploads/", truncate=0, headers={"Content-Length": "10"}))
        remote = open_remote(f"{proxy.host}/{NAME}")
        assert remote.upload_blob(here, store) == here.size_bytes
        assert len(proxy.asked("PUT")) == 1

    def test_bytes_that_are_changed_on_the_way_are_refused(
        self, open_remote: Open, direct: Remote, proxy: FaultProxy, here: Blob, store: Store
    ) -> None:
        proxy.faults.append(Fault("PUT", "/uploads/", corrupt=HALF, times=99))
        with pytest.raises(TransferCorrupt):
            open_remote(f"{proxy.host}/{NAME}").upload_blob(here, store)
        assert not direct.has_blob(here.digest)

    def test_a_mount_that_becomes_an_upload_is_cancelled(self, remote: Remote, proxy: FaultProxy, here: Blob) -> None:
        assert not remote.mount_blob(here.digest, "acme/none")
        assert len(proxy.asked("DELETE", "/uploads/")) == 1

    @pytest.mark.parametrize("fault", ["truncate", "reset", "corrupt"])
    def test_a_copy_whose_source_fails_is_made_again(
        self,
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


class TestManifests:
    def test_other_bytes_than_the_digest_are_refused(self, remote: Remote, proxy: FaultProxy) -> None:
        digest = Digest.of_bytes(b"{}")
        proxy.faults.append(Fault("GET", "/manifests/", status=200, body=b"{ }", times=9))
        with pytest.raises(TransferCorrupt):
            remote.get_manifest(digest)

    def test_other_bytes_than_the_told_digest_are_refused(self, remote: Remote, proxy: FaultProxy) -> None:
        told = {"Docker-Content-Digest": str(Digest.of_bytes(b"{}"))}
        proxy.faults.append(Fault("GET", "/manifests/", status=200, body=b"{ }", headers=told, times=9))
        with pytest.raises(TransferCorrupt):
            remote.get_manifest("v1")

    def test_a_list_of_referrers_is_only_an_index(self, remote: Remote, proxy: FaultProxy) -> None:
        digest = Digest.of_bytes(b"{}")
        proxy.faults.append(Fault("GET", "/referrers/", status=303, headers={"Location": "http://example.invalid/"}))
        assert remote.referrers(digest) is None
        proxy.faults.append(
            Fault("GET", "/referrers/", status=200, body=b"<html>", headers={"Content-Type": "text/html"})
        )
        assert remote.referrers(digest) is None
        page = {"Content-Type": manifests.OCI_INDEX, "Link": f'</v2/{NAME}/referrers/{digest}?n=2>; rel="next"'}
        last = {"Content-Type": manifests.OCI_INDEX}
        proxy.faults += [
            Fault("GET", "/referrers/", status=200, body=b"1", headers=page),
            Fault("GET", "/referrers/", status=200, body=b"2", headers=last),
        ]
        assert remote.referrers(digest) == (b"1", b"2")
