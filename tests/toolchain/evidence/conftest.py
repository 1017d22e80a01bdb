"""What the tests of evidence share: an artifact with recipe and lock, made without building, and keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.registry.artifact.files import ArtifactFile, FileRole
from mlxbuild.registry.artifact.modelpack import ArtifactDescription, build
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.trust.keys import PrivateKey, generate
from mlxbuild.toolchain.core.lock import Lock, LockedFile, LockedSource
from mlxbuild.toolchain.lock.file import encode
from mlxbuild.toolchain.rebuild import LOCK_FILE, RECIPE_FILE
from mlxbuild.toolchain.spec.canonical import canonical
from mlxbuild.toolchain.spec.load import load

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RECIPE = """\
name: hello
version: "1.0"
license: Apache-2.0
base: {hf_repo: acme/base, revision: main}
quantization: int4
"""


@pytest.fixture(scope="session")
def key() -> PrivateKey:
    """The key that is trusted."""
    return generate()


@pytest.fixture(scope="session")
def other_key() -> PrivateKey:
    """A key of somebody else."""
    return generate()


@pytest.fixture
def make_artifact(store: Store, tmp_path: Path) -> Callable[..., Artifact]:
    """Makes an artifact of a Hub base and a tokenizer from another artifact; `system_prompt` makes another recipe."""

    def make(system_prompt: str = "", *, carries: bool = True) -> Artifact:
        (tmp_path / "ModelSpec.yaml").write_text(f"{RECIPE}system_prompt: {system_prompt!r}\n")
        (spec,) = load(tmp_path / "ModelSpec.yaml").variants()
        recipe = store.put(canonical_json.encode(canonical(spec)))
        weights, words = LockedFile("model.safetensors", _blob(b"weights")), LockedFile("tokenizer.json", _blob(b"w"))
        sources = (
            LockedSource("base", "hub", "acme/base", "main", COMMIT, (weights,), ()),
            LockedSource(
                "tokenizer", "artifact", "ghcr.io/acme/words:1.0", None, str(_blob(b"x").digest), (words,), ()
            ),
        )
        lock = store.put(encode(Lock(recipe.digest, sources)))
        files = [ArtifactFile("model.safetensors", FileRole.WEIGHT, store.put(b"quantized"))]
        if carries:
            files.append(ArtifactFile(RECIPE_FILE, FileRole.DOC, recipe))
            files.append(ArtifactFile(LOCK_FILE, FileRole.DOC, lock))
        description = ArtifactDescription(
            name="hello",
            version="1.0",
            title="hello:int4@1.0",
            spec_digest=recipe.digest,
            lock_digest=lock.digest,
            description="A model that greets",
            family="llama",
            architecture="LlamaForCausalLM",
            parameters=1_234_567,
            precision="bfloat16",
            quantization="mlx-affine-4bit-g64",
            licenses=("Apache-2.0", "LicenseRef-acme"),
        )
        return Artifact.open(store, build(store, description, files).digest)

    return make


@pytest.fixture
def artifact(make_artifact: Callable[..., Artifact]) -> Artifact:
    """One such artifact."""
    return make_artifact()


def _blob(data: bytes) -> Blob:
    return Blob(Digest.of_bytes(data), len(data))
