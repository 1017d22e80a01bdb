"""Pins a model of Ollama's registry: its manifest and layers by digest; for weights, only the headers are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource, LockedTensor
from mlxbuild.toolchain.lock.pin_gguf import check_architecture, gguf_tensors
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.sources.ollama.carried import lost
from mlxbuild.toolchain.sources.ollama.manifest import MODEL_FILE, PARAMETERS_FILE
from mlxbuild.toolchain.sources.ollama.model import OllamaModel, read_model
from mlxbuild.toolchain.sources.ollama.registry import OllamaRegistry
from mlxbuild.toolchain.spec.resolved import OllamaSource


def pin_ollama(
    role: str,
    source: OllamaSource,
    before: LockedSource | None,
    index: FileIndex,
    store: Store,
    *,
    tokenizer: bool,
    moves: bool,
    notice: Callable[[str], None],
) -> LockedSource:
    """Pin a model of Ollama's registry.

    Args:
        role: Role of the source in the lock.
        source: The source that names the model.
        before: The model's entry in the previous lock, which is kept unless `moves`.
        index: Records the derived documents.
        store: Stores them.
        tokenizer: Whether the tokenizer of a GGUF file is derived; it is not if the recipe names another one.
        moves: Whether to resolve the name again.
        notice: Called with what is left out of the model.

    Raises:
        ManifestUnknown, RepositoryUnknown, RegistryFailure: the registry does not return it.
        BrokenOllamaManifest, UnsupportedOllamaModel: the model is not supported.
        UserError: as `read_model`.
    """
    registry = OllamaRegistry(store)
    if before is not None and before.pinned is not None and not moves:
        files = {file.path: file.blob for file in before.files if not file.derived}
        digest = Digest.parse(before.pinned)
    else:
        manifest = registry.manifest(source.name, ask=moves)
        files, digest = dict(manifest.files()), manifest.digest
        for what in manifest.dropped:
            notice(f"`{source.name}`: left out: {what}")
        if PARAMETERS_FILE in files:
            for parameter in lost(registry.read(source.name, files[PARAMETERS_FILE]), str(source.name)):
                notice(f"`{source.name}`: left out: the parameter `{parameter}`, which recipes do not have")
    model = read_model(registry, source.name, files, tokenizer=tokenizer)
    check_architecture(model.documents["config.json"], str(source.name))
    return LockedSource(
        role=role,
        kind="ollama",
        identity=str(source.name),
        requested=None,
        pinned=str(digest),
        files=_files(files, model, store, index),
        tensors=gguf_tensors(model.gguf) if model.gguf is not None else _tensors(model),
        gguf=MODEL_FILE if model.gguf is not None else None,
        header=None if model.gguf is None else model.gguf.digest,
    )


def _files(files: Mapping[str, Blob], model: OllamaModel, store: Store, index: FileIndex) -> tuple[LockedFile, ...]:
    locked = [LockedFile(path, blob) for path, blob in files.items()]
    for path, content in model.documents.items():
        blob = store.put(content)
        index.content(store.path(blob.digest), immutable=True)
        locked.append(LockedFile(path, blob, derived=True))
    return tuple(sorted(locked, key=lambda file: file.path))


def _tensors(model: OllamaModel) -> tuple[LockedTensor, ...]:
    rows = (
        LockedTensor(tensor.name, tensor.dtype, tensor.shape, path, tensor.begin, tensor.size_bytes)
        for path, file in model.tensor_files.items()
        for tensor in file.tensors
    )
    return tuple(sorted(rows, key=lambda tensor: (tensor.file, tensor.name)))
