"""The manifest and config that are written: exact bytes, order, and what never enters."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from mlxbuild.registry.artifact import modelpack
from mlxbuild.registry.artifact.files import ArtifactFile, FileRole, UnsafePath
from mlxbuild.registry.artifact.manifest import InvalidManifest
from mlxbuild.registry.artifact.modelpack import ArtifactDescription, ReservedAnnotation, WrongSize
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.store.errors import BlobMissing
from mlxbuild.registry.store.layout import Store

Build = Callable[..., Blob]


def test_manifest_is_the_modelpack_form(store: Store, build_artifact: Build) -> None:
    document = json.loads(store.read(build_artifact().digest))
    assert document["schemaVersion"] == 2
    assert document["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert document["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert document["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert [(layer["mediaType"], layer["annotations"]["org.cncf.model.filepath"]) for layer in document["layers"]] == [
        ("application/vnd.cncf.model.weight.v1.raw", "model-00001-of-00002.safetensors"),
        ("application/vnd.cncf.model.weight.v1.raw", "model-00002-of-00002.safetensors"),
        ("application/vnd.cncf.model.weight.config.v1.raw", "config.json"),
        ("application/vnd.cncf.model.weight.config.v1.raw", "mlxbuild/defaults.json"),
        ("application/vnd.cncf.model.doc.v1.raw", "COPY"),
        ("application/vnd.cncf.model.doc.v1.raw", "LICENSE"),
    ]
    for layer in document["layers"]:
        assert layer["annotations"]["org.opencontainers.image.title"] == layer["annotations"]["org.cncf.model.filepath"]
    assert document["annotations"] == {
        "dev.mlxbuild.lock.digest": str(Digest.of_bytes(b"lock")),
        "dev.mlxbuild.quantization": '{"bits":4,"group_size":64,"mode":"affine"}',
        "dev.mlxbuild.set.digest": "sha256:d40edaea31b3745f94b7f8258098ddd9ce54eee73ed8da5ed45b117f1e301784",
        "dev.mlxbuild.spec.digest": str(Digest.of_bytes(b"spec")),
        "org.acme.team": "greetings",
        "org.opencontainers.image.base.name": "hf.co/acme/hello@0123456789abcdef",
        "org.opencontainers.image.description": "A model that greets — in UTF-8",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.revision": "0123456789abcdef",
        "org.opencontainers.image.source": "https://huggingface.co/acme/hello",
        "org.opencontainers.image.title": "hello:int4@1.0",
        "org.opencontainers.image.version": "1.0",
    }


def test_config_says_what_is_known(store: Store, build_artifact: Build) -> None:
    artifact = Artifact.open(store, build_artifact().digest)
    assert artifact.config == {
        "descriptor": {
            "name": "hello",
            "version": "1.0",
            "title": "hello:int4@1.0",
            "description": "A model that greets — in UTF-8",
            "family": "llama",
            "licenses": ["Apache-2.0"],
            "sourceURL": "https://huggingface.co/acme/hello",
            "revision": "0123456789abcdef",
        },
        "config": {
            "architecture": "transformer",
            "format": "safetensors",
            "paramSize": "1.2M",
            "precision": "bfloat16",
            "quantization": "mlx-affine-4bit-g64",
            "capabilities": {
                "inputTypes": ["text"],
                "outputTypes": ["text"],
                "reasoning": False,
                "toolUsage": True,
                "languages": ["en"],
            },
        },
        "modelfs": {"type": "layers", "diffIds": [str(file.blob.digest) for file in artifact.files]},
    }


def test_bytes_are_pinned(build_artifact: Build) -> None:
    """A change here changes every digest that anybody has ever pinned."""
    assert build_artifact().digest == Digest(
        "sha256", "0a2d8679af2fb88ddf88f9a640088c1d97b640d30a8fe79c9a28dd8e74676e6e"
    )


def test_order_and_home_do_not_matter(store: Store, description: ArtifactDescription, build_artifact: Build) -> None:
    first = build_artifact()
    files = Artifact.open(store, first.digest).files
    assert modelpack.build(store, description, files[::-1]) == first
    turned = replace(description, annotations=dict(reversed([*description.annotations.items()])))
    assert modelpack.build(store, turned, iter(files[2:] + files[:2])) == first


def test_reader_gives_back_the_files(store: Store, build_artifact: Build) -> None:
    manifest = build_artifact()
    artifact = Artifact.open(store, manifest.digest)
    assert artifact.digest == manifest.digest
    assert artifact.read("LICENSE") == b"free"
    assert artifact.read("mlxbuild/defaults.json") == b"{}"
    license_file = artifact.file("LICENSE")
    assert license_file is not None
    assert license_file.role is FileRole.DOC
    assert artifact.file("absent") is None
    with pytest.raises(InvalidManifest, match="no file `absent`"):
        artifact.read("absent")
    # LICENSE and COPY are one blob.
    assert artifact.size_bytes == sum(blob.size_bytes for blob in store.blobs())


def test_reader_refuses_what_is_no_model(store: Store, build_artifact: Build) -> None:
    document = json.loads(store.read(build_artifact().digest))
    image = {**document, "config": {**document["config"], "mediaType": "application/vnd.oci.image.config.v1+json"}}
    tar = {**document, "layers": [{**document["layers"][0], "mediaType": "application/vnd.cncf.model.weight.v1.tar"}]}
    nameless = {**document, "layers": [{**document["layers"][0], "annotations": {}}]}
    for wrong in (image, tar, nameless, {"schemaVersion": 2, "manifests": []}, [], {**document, "config": None}):
        with pytest.raises(InvalidManifest):
            Artifact.open(store, store.put(json.dumps(wrong).encode()).digest)
    with pytest.raises(InvalidManifest):
        Artifact.open(store, store.put(b"\xff not JSON").digest)
    climbing = {**document["layers"][0], "annotations": {"org.cncf.model.filepath": "../x"}}
    with pytest.raises(UnsafePath):
        Artifact.open(store, store.put(json.dumps({**document, "layers": [climbing]}).encode()).digest)


def test_build_refuses_what_cannot_be_right(store: Store, description: ArtifactDescription) -> None:
    blob = store.put(b"data")
    good = ArtifactFile("a", FileRole.WEIGHT, blob)
    with pytest.raises(UserError, match="at least one file"):
        modelpack.build(store, description, [])
    with pytest.raises(WrongSize):
        modelpack.build(store, description, [replace(good, blob=replace(blob, size_bytes=5))])
    with pytest.raises(BlobMissing):
        modelpack.build(store, description, [replace(good, blob=Blob(Digest.of_bytes(b"absent"), 6))])
    with pytest.raises(UnsafePath):
        modelpack.build(store, description, [good, replace(good, path="A")])
    for key in ("org.opencontainers.image.title", "dev.mlxbuild.anything"):
        with pytest.raises(ReservedAnnotation, match=key):
            modelpack.build(store, replace(description, annotations={key: "x"}), [good])


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (8_030_261_248, "8.0B"),
        (6_700_000_000, "6.7B"),
        (999_960_000, "1.0B"),
        (596_049_920, "596.0M"),
        (1_234_567, "1.2M"),
        (1_000, "1.0K"),
        (96, "0.1K"),
        (10**12, "1.0T"),
    ],
)
def test_parameter_size_has_one_digit_behind_the_point(count: int, text: str) -> None:
    assert modelpack.parameter_size(count) == text
    read = modelpack.parameter_count(text)
    assert read is not None
    assert modelpack.parameter_size(read) == text


@pytest.mark.parametrize(
    ("text", "count"), [("8b", 8 * 10**9), ("0.6B", 6 * 10**8), ("", None), ("many", None), ("8×7B", None)]
)
def test_parameter_sizes_of_other_tools_are_read_or_left(text: str, count: int | None) -> None:
    assert modelpack.parameter_count(text) == count
