"""Reads the store that Ollama keeps on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.spec.ollama_name import OllamaName

_MANIFEST_LIMIT_BYTES = 16 << 20


def models_folder() -> Path:
    """Ollama's models folder: `$OLLAMA_MODELS`, else `~/.ollama/models`."""
    return Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")


def local_manifest(name: OllamaName) -> bytes | None:
    """The manifest of a model that was pulled or created, or None."""
    path = models_folder() / "manifests" / name.host / name.namespace / name.model / name.tag
    with suppress(OSError), path.open("rb") as file:
        data = file.read(_MANIFEST_LIMIT_BYTES + 1)
        return data if len(data) <= _MANIFEST_LIMIT_BYTES else None
    return None


def local_blob(digest: Digest) -> Path | None:
    """The path of a blob, or None; its content is not verified."""
    path = models_folder() / "blobs" / f"{digest.algorithm}-{digest.hex}"
    return path if os.access(path, os.R_OK) else None
