"""What the registry's tests share: ready artifacts, and processes that die in the middle of their work."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.registry.artifact import modelpack
from mlxbuild.registry.artifact.files import ArtifactFile, FileRole
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store

FILES = {
    "config.json": (FileRole.CONFIG, b'{"model_type":"llama"}'),
    "model-00002-of-00002.safetensors": (FileRole.WEIGHT, b"second" * 100),
    "model-00001-of-00002.safetensors": (FileRole.WEIGHT, b"first" * 100),
    "LICENSE": (FileRole.DOC, b"free"),
    "mlxbuild/defaults.json": (FileRole.CONFIG, b"{}"),
    "COPY": (FileRole.DOC, b"free"),
}


@pytest.fixture
def description() -> modelpack.ArtifactDescription:
    """Everything that can be said."""
    return modelpack.ArtifactDescription(
        name="hello",
        version="1.0",
        title="hello:int4@1.0",
        spec_digest=Digest.of_bytes(b"spec"),
        lock_digest=Digest.of_bytes(b"lock"),
        description="A model that greets — in UTF-8",
        family="llama",
        architecture="transformer",
        parameters=1_234_567,
        precision="bfloat16",
        quantization="mlx-affine-4bit-g64",
        quantization_parameters={"mode": "affine", "group_size": 64, "bits": 4},
        licenses=("Apache-2.0",),
        source="https://huggingface.co/acme/hello",
        revision="0123456789abcdef",
        base_name="hf.co/acme/hello@0123456789abcdef",
        capabilities=modelpack.Capabilities(tool_usage=True, languages=("en",)),
        annotations={"org.acme.team": "greetings"},
    )


@pytest.fixture
def build_artifact(store: Store, description: modelpack.ArtifactDescription) -> Callable[..., Blob]:
    """Builds the example artifact, with other file contents where given (None leaves a file out)."""

    def build(**changes: bytes | None) -> Blob:
        contents = {path: changes.get(path, data) for path, (_, data) in FILES.items()}
        files = [
            ArtifactFile(path, FILES[path][0], store.put(data)) for path, data in contents.items() if data is not None
        ]
        return modelpack.build(store, description, files)

    return build


CRASHED = 137
EFFECTS = frozenset(
    [
        "open",
        "shutil.rmtree",
        *(f"os.{name}" for name in ["rename", "remove", "mkdir", "rmdir", "symlink", "link", "chmod", "truncate"]),
    ]
)


@pytest.fixture(scope="session")
def crash_before() -> Callable[[int, Path, Callable[[], object]], bool]:
    """Runs work in a forked process that dies right before its n-th effect (from 0) on files below a folder.

    True if it died, false if the work was done before. An error of the work fails the test.
    """

    def run(effect_number: int, root: Path, work: Callable[[], object]) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            status = 1
            try:
                _die_before(effect_number, str(root))
                work()
                status = 0
            finally:
                os._exit(status)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, CRASHED), f"the work itself failed with {code}"
        return code == CRASHED

    return run


def _die_before(effect_number: int, root: str) -> None:
    """Python tells its audit hooks of every opened, renamed, linked and removed file before it happens."""
    left = effect_number

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in EFFECTS and any(str(argument).startswith(root) for argument in arguments[:2]):
            if left == 0:
                os._exit(CRASHED)
            left -= 1

    sys.addaudithook(count)
