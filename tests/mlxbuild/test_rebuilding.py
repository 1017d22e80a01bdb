"""`verify --rebuild` against artifacts that their recipe does not give, and builds with adapters."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mlxbuild.registry.artifact.files import set_digest
from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.toolchain.weights.safetensors import read_file_header
from tests.mlxbuild.conftest import CommandLine
from tests.toolchain.steps.test_block_adapters import write_adapter


def _doctor(mlxbuild: CommandLine, change: Callable[[bytearray, Any], None]) -> str:
    """An artifact that holds together in itself, with one shard that no recipe gave; returns a tensor's name."""
    store = mlxbuild.store
    artifact = Artifact.open(store, Digest.parse(mlxbuild.built()))
    old = next(file for file in artifact.files if file.path.startswith("model-00002"))
    tensor = read_file_header(store.path(old.blob.digest))[3]
    content = bytearray(store.read(old.blob.digest))
    change(content, tensor)
    new = store.put(bytes(content))
    manifest = json.loads(store.read(artifact.digest))
    config = json.loads(store.read(artifact.manifest.config.blob.digest))
    for layer in manifest["layers"]:
        if layer["digest"] == str(old.blob.digest):
            layer |= {"digest": str(new.digest), "size": new.size_bytes}
    config["modelfs"]["diffIds"] = [layer["digest"] for layer in manifest["layers"]]
    blob = store.put(canonical_json.encode(config))
    manifest["config"] |= {"digest": str(blob.digest), "size": blob.size_bytes}
    files = [
        type(file)(file.path, file.role, Blob(new.digest, new.size_bytes) if file is old else file.blob)
        for file in artifact.files
    ]
    manifest["annotations"]["dev.mlxbuild.set.digest"] = str(set_digest(files))
    store.tags.set({"tiny:doctored": tag_descriptor(store.put(canonical_json.encode(manifest)))})
    return str(tensor.name)


def test_the_first_tensor_that_differs_is_named(mlxbuild: CommandLine) -> None:
    def flip(content: bytearray, tensor: Any) -> None:
        content[tensor.begin] ^= 1

    name = _doctor(mlxbuild, flip)
    assert mlxbuild("verify", "tiny:doctored").code == 0
    done = mlxbuild("verify", "tiny:doctored", "--rebuild", "-f", "ModelSpec.yaml")
    assert done.code == 9
    assert "error[not-reproducible]" in done.err
    assert f"the first tensor that differs is {name}, in model-00002-of-00005.safetensors" in done.err


def test_an_artifact_of_another_recipe_contradicts_itself(mlxbuild: CommandLine) -> None:
    mlxbuild.built()
    store = mlxbuild.store
    artifact = Artifact.open(store, store.tags.resolve(_reference("tiny:int4")))
    manifest = json.loads(store.read(artifact.digest))
    manifest["annotations"]["dev.mlxbuild.lock.digest"] = "sha256:" + "0" * 64
    store.tags.set({"tiny:doctored": tag_descriptor(store.put(canonical_json.encode(manifest)))})
    done = mlxbuild("verify", "tiny:doctored")
    assert done.code == 10
    assert "mlxbuild/ModelSpec.lock is not the one that the annotation dev.mlxbuild.lock.digest names" in done.err


def _reference(text: str) -> Any:
    from mlxbuild.registry.core.reference import Reference

    return Reference.parse(text)


@pytest.mark.parametrize("variant", ["int4", "none"])
def test_adapters_are_fused_into_the_artifact(
    mlxbuild: CommandLine, edit: Callable[[str, str], None], variant: str
) -> None:
    plain = mlxbuild.built(variant)
    write_adapter(mlxbuild.folder / "adapter", mlxbuild.folder / "model", ["self_attn.q_proj"], layers=1)
    edit("base: {path: model}\n", "base: {path: model}\nadapters: [{path: adapter}]\n")
    step = "quantize" if variant == "int4" else "convert"
    ran = mlxbuild.ran()
    assert [label for label in ran if f"tiny:{variant}/{step}" in label] == [f"tiny:{variant}/{step}/002"]
    assert mlxbuild.built(variant) != plain
    assert mlxbuild("verify", f"tiny:{variant}", "--rebuild").code == 0
    assert mlxbuild("run", f"tiny:{variant}", "hello", "--max-tokens", "3").code == 0
