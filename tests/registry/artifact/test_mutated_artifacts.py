"""Manifests and configs that are damaged or hostile are refused by an error of the tree before anything is fetched."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.verification import check_description, verify
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.oci.exchange.admission import admit_artifact
from mlxbuild.registry.oci.remote.manifests import RawManifest
from mlxbuild.registry.store.layout import Store
from tests.mutations import FEW, mutated


def test_mutated_manifests(store: Store, build_artifact: Callable[..., Blob]) -> None:
    document = json.loads(store.read(build_artifact().digest))

    @given(data=mutated(document))
    @FEW
    def each(data: bytes) -> None:
        digest = store.put(data).digest
        raw = RawManifest(data, media_types.OCI_MANIFEST, digest)
        with suppress(MlxbuildError):
            check_description(store, admit_artifact(raw, "here"))
        use(store, digest)

    each()


def test_mutated_configs(store: Store, build_artifact: Callable[..., Blob]) -> None:
    document: dict[str, Any] = json.loads(store.read(build_artifact().digest))
    config = json.loads(store.read(Digest.parse(document["config"]["digest"])))

    @given(data=mutated(config), lies=st.booleans())
    @FEW
    def each(data: bytes, lies: bool) -> None:
        blob = store.put(data)
        named = {**document["config"], "digest": str(blob.digest), "size": blob.size_bytes + lies}
        digest = store.put(json.dumps({**document, "config": named}).encode()).digest
        check_description(store, manifests.read(store, digest))
        use(store, digest)

    each()


def use(store: Store, digest: Digest) -> None:
    verify(store, digest, jobs=1)
    with suppress(MlxbuildError):
        artifact = Artifact.open(store, digest)
        assert artifact.size_bytes >= 0
        for file in artifact.files:
            artifact.file(file.path)
