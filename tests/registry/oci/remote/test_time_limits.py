"""Registries that are slow, silent or stuck: each wait ends at its limit with the reason, or when it is cancelled."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote import manifests
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.errors import RegistryTooSlow, RegistryUnreachable, TransferCorrupt
from mlxbuild.registry.oci.remote.referrers import list_referrers
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.errors import BlobCorrupt
from mlxbuild.registry.store.layout import Store
from tests.cancelling import ends_when_cancelled
from tests.loopback_server import full_peer, silent_peer
from tests.registry.oci.remote.conftest import CONTENT, HALF, NAME, Open
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy

QUICK = {"connect_seconds": 0.3, "read_seconds": 0.3, "least_bytes_per_second": 65536 / 0.4}
"""So 64 KiB have to come within 0.4 seconds."""
DOCUMENT = json.dumps(
    {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": [], "pad": "x" * 5000}
).encode()

Ask = Callable[[Remote], object]


@pytest.fixture
def quick(proxy: FaultProxy, open_remote: Open) -> Remote:
    """The repository through the proxy, with no patience."""
    return open_remote(f"{proxy.host}/{NAME}", **QUICK, attempts=6)


def told(error: RegistryTooSlow, *parts: str) -> None:
    """Make sure that an error says all of it."""
    assert error.exit_code == 5
    assert error.hint is not None
    for part in parts:
        assert part in error.diagnostics()


class TestLimits:
    @pytest.mark.parametrize(
        ("method", "path", "ask"),
        [
            ("GET", "/manifests/", lambda remote: remote.get_manifest("v1")),
            ("GET", "/tags/", lambda remote: list(remote.tags())),
            ("GET", "/_catalog", lambda remote: list(remote.catalogue())),
            ("GET", "/referrers/", lambda remote: list_referrers(remote, Digest.of_bytes(b""))),
            ("GET", "/blobs/", lambda remote: remote.read_blob(Blob(Digest.of_bytes(DOCUMENT), len(DOCUMENT)))),
        ],
    )
    def test_an_answer_that_drips(
        self, quick: Remote, proxy: FaultProxy, pauses: list[float], method: str, path: str, ask: Ask
    ) -> None:
        headers = {"Content-Type": manifests.OCI_INDEX}
        proxy.faults.append(Fault(method, path, status=200, body=DOCUMENT, headers=headers, drip=10, times=9))
        with pytest.raises(RegistryTooSlow) as caught:
            ask(quick)
        told(caught.value, proxy.host, path, "is the minimum", "least_bytes_per_second")
        assert len(proxy.asked(method, path)) == 2

    def test_an_answer_that_does_not_begin(self, quick: Remote, proxy: FaultProxy, pauses: list[float]) -> None:
        proxy.faults.append(Fault("GET", "/manifests/", silent=True, times=9))
        with pytest.raises(RegistryTooSlow) as caught:
            quick.get_manifest("v1")
        told(caught.value, f"{proxy.host} gave no answer for 0.30 s", "read_seconds", "MLXBUILD_REGISTRY_READ_SECONDS")
        assert len(proxy.seen) == 2

    def test_a_token_that_drips(self, quick: Remote, proxy: FaultProxy, pauses: list[float]) -> None:
        realm = {"WWW-Authenticate": f'Bearer realm="http://{proxy.host}/token",service="x"'}
        proxy.faults += [
            Fault("GET", "/manifests/", status=401, headers=realm, times=9),
            Fault("GET", "/token", status=200, body=DOCUMENT, drip=0, times=9),
        ]
        with pytest.raises(RegistryTooSlow) as caught:
            quick.get_manifest("v1")
        told(caught.value, f"GET http://{proxy.host}/token", "least_bytes_per_second")
        assert len(proxy.asked("GET", "/token")) == 2

    def test_a_peer_that_says_nothing(self, open_remote: Open, pauses: list[float]) -> None:
        with silent_peer() as host, pytest.raises(RegistryTooSlow) as caught:
            open_remote(f"{host}/{NAME}", **QUICK).ping()
        told(caught.value, f"{host} gave no answer", "read_seconds")

    def test_a_peer_that_stalls_when_encryption_begins(
        self, open_remote: Open, pauses: list[float], tmp_path: Path, closed_registry: object
    ) -> None:
        ca = closed_registry.ca  # type: ignore[attr-defined]
        with silent_peer() as host, pytest.raises(RegistryTooSlow) as caught:
            open_remote(f"{host}/{NAME}", **QUICK, ca=ca).ping()
        told(caught.value, f"{host} did not start TLS for 0.30 s", "connect_seconds", "plain http")

    def test_a_peer_that_takes_no_connection(self, open_remote: Open, pauses: list[float]) -> None:
        with full_peer() as host, pytest.raises(RegistryTooSlow) as caught:
            open_remote(f"{host}/{NAME}", **QUICK).ping()
        told(caught.value, f"{host} accepted no connection for 0.30 s", "connect_seconds")

    def test_a_blob_that_drips_is_no_progress(
        self, quick: Remote, proxy: FaultProxy, there: Blob, store: Store, pauses: list[float]
    ) -> None:
        proxy.faults += [Fault("GET", "/blobs/", drip=HALF), Fault("GET", "/blobs/", drip=10, times=9)]
        with pytest.raises(RegistryTooSlow):
            quick.download_blob(there, store)
        assert len(proxy.asked("GET", "/blobs/")) == 3, "one that came further, and two that did not"

    def test_one_byte_a_range_is_no_progress(
        self, quick: Remote, proxy: FaultProxy, there: Blob, store: Store, pauses: list[float]
    ) -> None:
        proxy.faults.append(Fault("GET", "/blobs/", truncate=1, times=99))
        with pytest.raises(RegistryUnreachable):
            quick.download_blob(there, store)
        assert len(proxy.asked("GET", "/blobs/")) == 6

    def test_one_more_byte_each_time_without_ranges_is_no_progress(
        self, quick: Remote, proxy: FaultProxy, there: Blob, store: Store, pauses: list[float]
    ) -> None:
        proxy.faults += [Fault("GET", "/blobs/", truncate=5 + number, no_range=True) for number in range(99)]
        with pytest.raises(RegistryUnreachable):
            quick.download_blob(there, store)
        assert len(proxy.asked("GET", "/blobs/")) == 6

    @pytest.mark.parametrize("chunk_bytes", [8_000_000, 80_000_000], ids=["chunks", "whole"])
    @pytest.mark.parametrize("fault", ["sip", "silent"])
    def test_an_upload_that_is_hardly_taken(
        self,
        proxy: FaultProxy,
        open_remote: Open,
        store: Store,
        pauses: list[float],
        fault: str,
        chunk_bytes: int,
    ) -> None:
        blob = store.put(CONTENT * 8)  # more than what lies between the two sides
        method = "PATCH" if chunk_bytes == 8_000_000 else "PUT"
        proxy.faults.append(Fault(method, times=9, silent=fault == "silent", sip=0 if fault == "sip" else None))
        remote = open_remote(f"{proxy.host}/{NAME}", **QUICK, chunk_bytes=chunk_bytes)
        with pytest.raises(RegistryTooSlow) as caught:
            remote.upload_blob(blob, store)
        told(caught.value, method, "gave no answer" if fault == "silent" else "accepted")
        assert len(proxy.asked(method)) == 2

    def test_only_waiting_is_counted_and_not_what_is_done_with_the_bytes(
        self, open_remote: Open, proxy: FaultProxy, there: Blob, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        passed = 0.0
        clock = time.monotonic

        def work_for_long(_count: int) -> None:
            nonlocal passed
            passed += 1000

        monkeypatch.setattr(time, "monotonic", lambda: clock() + passed)
        remote = open_remote(f"{proxy.host}/{NAME}", read_seconds=60.0)
        assert remote.download_blob(there, store, work_for_long) == there.size_bytes
        assert len(proxy.asked("GET", "/blobs/")) == 1
        assert passed > 1000


class TestCancellation:
    @pytest.mark.parametrize("fault", [{"silent": True}, {"drip": 0, "status": 200, "body": DOCUMENT}, {"status": 503}])
    def test_it_reaches_a_wait_for_an_answer_and_a_pause(
        self, proxy: FaultProxy, open_remote: Open, fault: dict[str, object]
    ) -> None:
        proxy.faults.append(Fault("GET", "/manifests/", times=99, **fault))  # type: ignore[arg-type]
        patient = open_remote(f"{proxy.host}/{NAME}", read_seconds=600.0, attempts=99)
        assert ends_when_cancelled(lambda: patient.get_manifest("v1"))

    @pytest.mark.parametrize("peer", [silent_peer, full_peer])
    def test_it_reaches_a_wait_for_a_connection(self, open_remote: Open, peer: object, closed_registry: object) -> None:
        ca = closed_registry.ca  # type: ignore[attr-defined]
        with peer() as host:  # type: ignore[operator]
            patient = open_remote(f"{host}/{NAME}", connect_seconds=600.0, ca=ca)
            assert ends_when_cancelled(patient.ping)

    def test_a_failure_ends_what_other_threads_wait_for(self) -> None:
        waited: list[BaseException] = []

        def wait() -> None:
            try:
                cancellation.wait(600)
            except cancellation.Cancelled as error:
                waited.append(error)
                raise

        def fail() -> None:
            with cancellation.threads(2) as threads:
                threads.submit(wait)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert len(waited) == 1


class TestDamagedFiles:
    @pytest.mark.parametrize("change", [lambda data: data[:-1000], lambda data: data + b"more"], ids=["short", "long"])
    def test_a_blob_of_another_size_is_not_sent(
        self, quick: Remote, proxy: FaultProxy, here: Blob, store: Store, change: Callable[[bytes], bytes]
    ) -> None:
        path = store.path(here.digest)
        path.chmod(0o644)
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(BlobCorrupt, match=f"the bytes of {here.digest} are damaged"):
            quick.upload_blob(here, store)
        assert [seen.method for seen in proxy.seen] == ["HEAD"]

    def test_a_file_that_becomes_shorter_while_it_is_sent(
        self, quick: Remote, proxy: FaultProxy, here: Blob, store: Store
    ) -> None:
        def cut(count: int) -> None:
            if 0 < count < here.size_bytes:
                path = store.path(here.digest)
                path.chmod(0o644)
                with path.open("r+b") as file:
                    file.truncate(count)

        with pytest.raises((TransferCorrupt, BlobCorrupt)):
            quick.upload_blob(here, store, cut)


def test_the_variables_come_before_the_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.root.mkdir()
    (home.root / "config.yaml").write_text("read_seconds: 5\nleast_bytes_per_second: 100\n")
    monkeypatch.setenv("MLXBUILD_REGISTRY_READ_SECONDS", "0.5")
    settings = Settings.load(home)
    assert (settings.read_seconds, settings.least_bytes_per_second) == (0.5, 100)
    assert Remote.open(Reference.parse("a.example/b"), settings, home).host == "a.example"
