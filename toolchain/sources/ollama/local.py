"""The store that Ollama itself keeps on this machine: where it is, and what of a model it has. Nothing is written."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.spec.ollama_name import OllamaName

_MANIFEST_LIMIT_BYTES = 16 << 20


def models_folder() -> Path:
    """`$OLLAMA_MODELS`, else `~/.ollama/models`."""
    return Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")


def local_manifest(name: OllamaName) -> bytes | None:
    """The manifest of a name, if it was pulled or created."""
    path = models_folder() / "manifests" / name.host / name.namespace / name.model / name.tag
    with suppress(OSError), path.open("rb") as file:
        data = file.read(_MANIFEST_LIMIT_BYTES + 1)
        return data if len(data) <= _MANIFEST_LIMIT_BYTES else None
    return None


def local_blob(digest: Digest) -> Path | None:
    """The file of a blob; its content is not checked."""
    path = models_folder() / "blobs" / f"{digest.algorithm}-{digest.hex}"
    return path if os.access(path, os.R_OK) else None
