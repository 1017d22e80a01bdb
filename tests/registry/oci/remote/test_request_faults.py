"""Answers that are late, refusing, elsewhere or untrue: requests try again, give up, or follow without credentials."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.oci.remote import manifests
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.oci.remote.errors import (
    RegistryBusy,
    RegistryFailure,
    RegistryRefused,
    RegistryUnreachable,
    TransferCorrupt,
)
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess
from tests.registry.oci.remote.conftest import HALF, NAME, Open
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy


class TestRetries:
    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_a_passing_refusal_is_asked_again_after_the_pause_it_wants(
        self, remote: Remote, proxy: FaultProxy, there: Blob, pauses: list[float], status: int
    ) -> None:
        proxy.faults.append(Fault("HEAD", "/blobs/", status=status, headers={"Retry-After": "7"}, times=2))
        assert remote.has_blob(there.digest)
        assert pauses == [7.0, 7.0]

    @pytest.mark.parametrize(
        ("times", "code"), [(2, "DIGEST_INVALID"), (99, "DIGEST_INVALID"), (1, "MANIFEST_INVALID")]
    )
    def test_a_manifest_whose_digests_are_being_written_is_put_again(
        self, remote: Remote, proxy: FaultProxy, pauses: list[float], times: int, code: str
    ) -> None:
        proxy.faults.append(Fault("PUT", "/manifests/", status=400, code=code, times=times))
        data = json.dumps({"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": []}).encode()
        if times == 2:
            assert remote.put_manifest(data, manifests.OCI_INDEX, "again").digest == Digest.of_bytes(data)
        else:
            with pytest.raises(RegistryFailure, match=code):
                remote.put_manifest(data, manifests.OCI_INDEX, "again")
        assert len(proxy.asked("PUT")) == (1 if code == "MANIFEST_INVALID" else 3)

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
        with pytest.raises(RegistryFailure, match="endlessly"):
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

    def test_a_list_of_referrers_is_only_an_index(self, open_remote: Open, proxy: FaultProxy) -> None:
        digest, index = Digest.of_bytes(b"{}"), {"Content-Type": manifests.OCI_INDEX}
        page = {**index, "Link": f'</v2/{NAME}/referrers/{digest}?n=2>; rel="next"'}
        for fault in (
            Fault("GET", "/referrers/", status=303, headers={"Location": "http://example.invalid/"}),
            Fault("GET", "/referrers/", status=200, body=b"<html>", headers={"Content-Type": "text/html"}),
        ):
            remote = open_remote(f"{proxy.host}/{NAME}")
            proxy.faults.append(fault)
            asked = len(proxy.seen)
            assert remote.referrers(digest) is None
            assert remote.referrers(digest) is None
            assert len(proxy.seen) == asked + 1, "a registry without such lists is not asked again"
        proxy.faults += [
            Fault("GET", "/referrers/", status=200, body=b"1", headers=page),
            Fault("GET", "/referrers/", status=200, body=b"2", headers=index),
        ]
        assert open_remote(f"{proxy.host}/{NAME}").referrers(digest)
