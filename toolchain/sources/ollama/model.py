"""Reads the blobs of an Ollama model, local or remote: headers of weights, and small layers as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.digest import Blob
from mlxbuild.runtime.model.files import DEFAULTS_FILE
from mlxbuild.toolchain.sources.errors import DuplicateTensor, SourceIncomplete
from mlxbuild.toolchain.sources.gguf.parts import GgufFiles, OpenFile, read_gguf_files
from mlxbuild.toolchain.sources.ollama.carried import defaults_document
from mlxbuild.toolchain.sources.ollama.manifest import (
    CONFIGURATION_FILE,
    MESSAGES_FILE,
    MODEL_FILE,
    PARAMETERS_FILE,
    SYSTEM_FILE,
)
from mlxbuild.toolchain.sources.ollama.registry import OllamaRegistry
from mlxbuild.toolchain.sources.ollama.tensors import TensorFile, read_tensor_file, with_quantization
from mlxbuild.toolchain.spec.ollama_name import OllamaName

_REQUESTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """The data that is derived from a model's files."""

    documents: Mapping[str, bytes]
    """Path to content: for GGUF as in `DerivedModel`, for safetensors config.json; and the defaults."""
    gguf: GgufFiles | None
    tensor_files: Mapping[str, TensorFile]
    """For a model in safetensors: path to tensors."""


def read_model(
    registry: OllamaRegistry, name: OllamaName, files: Mapping[str, Blob], *, tokenizer: bool
) -> OllamaModel:
    """Read headers and small layers.

    Args:
        registry: Returns the blobs.
        name: Name of the model.
        files: The result of `OllamaManifest.files`.
        tokenizer: Whether a GGUF file's tokenizer is derived, too.

    Raises:
        BrokenOllamaManifest, UnsupportedOllamaModel: a layer is invalid or unsupported.
        SourceIncomplete: a model in safetensors has no config.json.
        RegistryFailure, TransferCorrupt: as `OllamaRegistry.read`.
        UserError: as `read_gguf_files` and `read_header`.
    """
    where = str(name)

    def small(path: str) -> bytes | None:
        return registry.read(name, files[path]) if path in files else None

    if MODEL_FILE in files:
        gguf = read_gguf_files((MODEL_FILE,), _Opener(registry, name, files).open, where, tokenizer=tokenizer)
        documents = dict(gguf.model.documents)
        tensor_files: Mapping[str, TensorFile] = {}
    else:
        gguf, tensor_files = None, _tensor_files(registry, name, files)
        config = _configuration(small(CONFIGURATION_FILE), where)
        documents = {"config.json": _text(with_quantization(config, tuple(tensor_files.values())))}
    defaults = defaults_document(small(PARAMETERS_FILE), small(SYSTEM_FILE), small(MESSAGES_FILE), where)
    if defaults is not None:
        documents[DEFAULTS_FILE] = defaults
    return OllamaModel(documents, gguf, tensor_files)


@dataclass(frozen=True, slots=True)
class _Opener:
    registry: OllamaRegistry
    name: OllamaName
    files: Mapping[str, Blob]

    @contextmanager
    def open(self, path: str) -> Iterator[OpenFile]:
        blob = self.files[path]
        yield OpenFile(self.registry.reader(self.name, blob), blob.size_bytes, f"{self.name}/{path}")


def _tensor_files(registry: OllamaRegistry, name: OllamaName, files: Mapping[str, Blob]) -> Mapping[str, TensorFile]:
    paths = sorted(path for path in files if path.endswith(".safetensors"))

    def read(path: str) -> TensorFile:
        return read_tensor_file(registry.reader(name, files[path]), files[path].size_bytes, f"{name}/{path}")

    with cancellation.threads(_REQUESTS_AT_ONCE) as threads:
        found = dict(zip(paths, threads.map(read, paths), strict=True))
    holders: dict[str, str] = {}
    for path, file in found.items():
        for tensor in file.tensors:
            if (other := holders.setdefault(tensor.name, path)) != path:
                raise DuplicateTensor(f"`{other}` and `{path}` both hold the tensor `{tensor.name}`", where=str(name))
    return found


def _configuration(data: bytes | None, where: str) -> dict[str, Any]:
    try:
        config = json.loads(data or b"")
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise SourceIncomplete(
            "the model has no sound config.json", where=where, hint="name another tag, or take it from the Hub"
        )
    return config


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()
