"""Short ways to ask a loaded model, and to make an artifact of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlxbuild.registry.artifact import modelpack
from mlxbuild.registry.artifact.files import ArtifactFile, FileRole
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.layout import Store

USER = {"role": "user", "content": "hello"}


def put_artifact(store: Store, folder: Path) -> Digest:
    """The folder's files as an artifact."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [
        ArtifactFile(
            path.relative_to(folder).as_posix(),
            FileRole.WEIGHT if path.suffix == ".safetensors" else FileRole.CONFIG,
            store.put(path.read_bytes()),
        )
        for path in paths
    ]
    description = modelpack.ArtifactDescription(
        name="tiny",
        version="1",
        title="tiny:none@1",
        spec_digest=Digest.of_bytes(b"spec"),
        lock_digest=Digest.of_bytes(b"lock"),
    )
    return modelpack.build(store, description, files).digest


def text(chunks: Any) -> str:
    return "".join(chunk.text for chunk in chunks)


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
