"""A pull that is killed, or that fails in one of its blobs, keeps what came, and the next one goes on there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.verification import verify
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.pull import pull
from mlxbuild.registry.oci.exchange.push import push
from mlxbuild.registry.oci.remote.errors import RegistryFailure
from mlxbuild.registry.store.errors import DiskFull
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess
from tests.registry.oci.exchange.conftest import SETTINGS
from tests.registry.oci.remote.fault_proxy import Fault, FaultProxy

Build = Callable[..., Blob]

PULL = """
import sys
from pathlib import Path
from mlxbuild.registry.oci.exchange.pull import pull
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
pull(Store.open(Home(Path(sys.argv[1]))), Reference.parse(sys.argv[2]), settings=Settings())
"""


@pytest.fixture
def big(store: Store, build_artifact: Build, registry: RegistryProcess) -> Blob:
    """An artifact with one weight of eight megabytes, pushed as `big/hello:1`."""
    artifact = build_artifact(**{"model-00001-of-00002.safetensors": os.urandom(1) * 8_000_000})
    push(store, artifact.digest, Reference.parse(f"{registry.host}/big/hello:1"), settings=SETTINGS)
    return artifact


def test_killed_at_half_it_fetches_the_rest_alone(
    store: Store, second_store: Store, big: Blob, registry: RegistryProcess
) -> None:
    weight = max((file.blob for file in Artifact.open(store, big.digest).files), key=lambda blob: blob.size_bytes)
    partial = second_store.home.cache / "partial" / weight.digest.hex
    with FaultProxy(registry.host) as proxy:
        proxy.faults.append(Fault("GET", f"/blobs/{weight.digest}", stall=weight.size_bytes // 2))
        name = f"{proxy.host}/big/hello:1"
        child = subprocess.Popen([sys.executable, "-c", PULL, str(second_store.home.root), name])
        while not partial.exists() or partial.stat().st_size < 0.9 * weight.size_bytes / 2:
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=10)
        assert second_store.tags.entries() == []
        kept = partial.stat().st_size
        assert kept >= 0.9 * weight.size_bytes / 2
        pulled = pull(second_store, Reference.parse(name), settings=SETTINGS)
        ranges = [seen.range for seen in proxy.seen if str(weight.digest) in seen.path and seen.method == "GET"]
    assert ranges[-1] == f"bytes={kept}-"
    assert pulled.digest == big.digest
    assert verify(second_store, big.digest).ok
    assert not partial.exists()


def test_one_blob_that_fails_stops_the_others_and_names_nothing(
    store: Store, second_store: Store, big: Blob, registry: RegistryProcess
) -> None:
    license_ = Artifact.open(store, big.digest).file("LICENSE")
    assert license_ is not None
    with FaultProxy(registry.host) as proxy:
        proxy.faults.append(Fault("GET", f"/blobs/{license_.blob.digest}", times=100, status=404, code="BLOB_UNKNOWN"))
        with pytest.raises(RegistryFailure):
            pull(second_store, Reference.parse(f"{proxy.host}/big/hello:1"), settings=SETTINGS)
    assert second_store.tags.entries() == []
    assert not second_store.has(big.digest), "the manifest comes last"


def test_a_full_disk_names_nothing_and_the_next_pull_goes_on(
    second_store: Store, big: Blob, registry: RegistryProcess
) -> None:
    import resource

    there = Reference.parse(f"{registry.host}/big/hello:1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, hard))
    try:
        with pytest.raises(DiskFull):
            pull(second_store, there, settings=SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert second_store.tags.entries() == []
    pulled = pull(second_store, there, settings=SETTINGS)
    assert pulled.digest == big.digest
    assert verify(second_store, big.digest).ok
