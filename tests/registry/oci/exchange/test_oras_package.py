"""The oras package, a client that shares no code with ours, reads what we push, and we read what it uploads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from oras.client import OrasClient

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.pull import pull
from mlxbuild.registry.oci.exchange.push import push
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess
from tests.registry.oci.exchange.conftest import SETTINGS


def test_oras_pulls_what_we_push(
    store: Store, build_artifact: Callable[..., Blob], registry: RegistryProcess, tmp_path: Path
) -> None:
    artifact = Artifact.open(store, build_artifact().digest)
    name = f"{registry.host}/oras/hello:int4"
    push(store, artifact.digest, Reference.parse(name), settings=SETTINGS, tags=["1.0"])
    client = OrasClient(insecure=True)
    assert sorted(client.get_tags(name)) == ["1.0", "int4"]
    assert client.get_manifest(name) == json.loads(store.read(artifact.digest))
    pulled = [Path(path) for path in client.pull(target=name, outdir=str(tmp_path / "pulled"))]
    assert {str(path.relative_to(tmp_path / "pulled")): Digest.of_bytes(path.read_bytes()) for path in pulled} == {
        file.path: file.blob.digest for file in artifact.files
    }


def test_we_pull_what_oras_uploads(
    store: Store, second_store: Store, build_artifact: Callable[..., Blob], registry: RegistryProcess
) -> None:
    artifact = Artifact.open(store, build_artifact().digest)
    name = f"{registry.host}/oras/uploaded:1"
    manifest, client = json.loads(store.read(artifact.digest)), OrasClient(insecure=True)
    for layer in (manifest["config"], *manifest["layers"]):
        path = store.path(Digest.parse(layer["digest"]))
        assert client.upload_blob(str(path), name, layer, do_chunked=True).status_code in (200, 201)
    assert client.upload_manifest(manifest, client.get_container(name)).status_code == 201
    pulled = Artifact.open(second_store, pull(second_store, Reference.parse(name), settings=SETTINGS).digest)
    assert pulled.files == artifact.files  # oras writes the manifest with other spaces, so its digest is another
