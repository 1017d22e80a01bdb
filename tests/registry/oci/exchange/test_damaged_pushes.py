"""An artifact of the store that is damaged: a push tells so before it sends anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.push import push
from mlxbuild.registry.store.errors import BlobCorrupt
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess
from tests.registry.oci.exchange.conftest import SETTINGS
from tests.registry.oci.remote.fault_proxy import FaultProxy


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x"], ids=["short", "long"])
def test_a_file_of_another_size_is_told_before_anything_is_sent(
    store: Store, build_artifact: Callable[..., Blob], registry: RegistryProcess, change: Callable[[bytes], bytes]
) -> None:
    artifact = build_artifact()
    digest = Artifact.open(store, artifact.digest).files[0].blob.digest
    path = store.path(digest)
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))
    with FaultProxy(registry.host) as proxy, pytest.raises(BlobCorrupt) as caught:
        push(store, artifact.digest, Reference.parse(f"{proxy.host}/damaged/hello:1"), settings=SETTINGS)
    with pytest.raises(BlobCorrupt) as flipped:
        store.verify(digest)
    assert caught.value.diagnostics() == flipped.value.diagnostics()
    assert {seen.method for seen in proxy.seen} <= {"HEAD", "GET"}, "nothing is sent"
