"""Checks that downloaded weights have the header that was locked.

For weights on the Hub and in Ollama's registry, a lock reads headers by ranges, and a range has no digest: a server
could answer it with other content than that of the whole file, whose digest is pinned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mlxbuild.toolchain.core.lock import LockedFile, LockedSource, LockedTensor
from mlxbuild.toolchain.sources.errors import SourceCorrupt
from mlxbuild.toolchain.sources.gguf.split import split_paths
from mlxbuild.toolchain.weights.formats.entry import scheme_of
from mlxbuild.toolchain.weights.safetensors import HeaderTensor, read_file_header

_CONFIGURATION = "config.json"


def has_header(source: LockedSource, file: LockedFile) -> bool:
    """Whether the lock holds data that was read from a file's header."""
    return source.kind in ("hub", "ollama") and not file.derived and _is_weights(source, file)


def check_header(source: LockedSource, file: LockedFile, place: Callable[[LockedFile], Path | None]) -> None:
    """Check that a downloaded file has the locked header; a split GGUF file is checked once all parts are there.

    Args:
        source: The source of the file.
        file: A file for which `has_header` is true.
        place: Returns the path of a file of the source on this machine, or None.

    Raises:
        SourceCorrupt: the lock has other tensors or metadata.
        MlxbuildError: a header cannot be read.
    """
    if source.gguf is not None:
        _check_gguf(source, source.gguf, place)
    elif (path := place(file)) is not None:
        locked = (tensor for tensor in source.tensors if tensor.file == file.path)
        if source.kind == "ollama":
            _check_tensor_file(source, file, path, locked, place)
        else:
            _compare(source, file.path, locked, read_file_header(path))


def _is_weights(source: LockedSource, file: LockedFile) -> bool:
    return file.path.endswith(".safetensors") if source.gguf is None else file.path in split_paths(source.gguf)


def _check_gguf(source: LockedSource, name: str, place: Callable[[LockedFile], Path | None]) -> None:
    from mlxbuild.toolchain.sources.gguf.parts import (  # imported late: only builds with such a file need it
        local_file,
        read_gguf_files,
    )

    files = {file.path: file for file in source.files}
    places = {path: place(files[path]) for path in split_paths(name)}
    here = {path: found for path, found in places.items() if found is not None}
    if len(here) < len(places):
        return
    found = read_gguf_files(tuple(places), lambda path: local_file(here[path]), source.identity, tokenizer=False)
    if found.digest != source.header:
        for part in found.parts:
            rows = {(row.type, row.begin, row.size_bytes) for row in part.header.tensors}
            for tensor in source.tensors:
                if tensor.file == part.path and (tensor.dtype, tensor.begin, tensor.size_bytes) not in rows:
                    raise _other(source, part.path, f"the lock has `{tensor.name}` where the file has nothing like it")
        raise _other(source, name, f"its digest is {found.digest}, and {source.header} in the lock")
    # Frequency factors are values of a tensor, which the header's digest does not cover.
    locked = place(files[_CONFIGURATION]) if _CONFIGURATION in files else None
    if locked is not None and _rope(found.model.documents[_CONFIGURATION]) != _rope(locked.read_bytes()):
        raise _other(source, name, "the lock's config.json has other rotary frequencies than the file")


def _rope(configuration: bytes) -> Any:
    return json.loads(configuration).get("rope_scaling")


def _check_tensor_file(
    source: LockedSource,
    file: LockedFile,
    path: Path,
    locked: Iterable[LockedTensor],
    place: Callable[[LockedFile], Path | None],
) -> None:
    from mlxbuild.toolchain.sources.gguf.parts import local_file
    from mlxbuild.toolchain.sources.ollama.tensors import read_tensor_file

    with local_file(path) as opened:
        found = read_tensor_file(opened.read, opened.size_bytes, str(path))
    _compare(source, file.path, locked, found.tensors)
    configuration = source.file(_CONFIGURATION)
    document = None if configuration is None else place(configuration)
    entry: Mapping[str, Any] = {} if document is None else json.loads(document.read_bytes()).get("quantization") or {}
    for module, scheme in found.schemes.items():
        if document is not None and scheme_of(entry, module) != scheme:
            raise _other(source, file.path, f"the lock has another quantization of `{module}` than the file")


def _compare(source: LockedSource, path: str, locked: Iterable[LockedTensor], found: Iterable[HeaderTensor]) -> None:
    said = {tensor.name: _row(tensor) for tensor in locked}
    told = {tensor.name: _row(tensor) for tensor in found}
    for name in sorted(said.keys() | told.keys()):
        if said.get(name) != told.get(name):
            what = [f"{rows[name]} in the {where}" for rows, where in ((said, "lock"), (told, "file")) if name in rows]
            only = "" if len(what) > 1 else " alone"
            raise _other(source, path, f"`{name}` is {' and '.join(what)}{only}")


def _row(tensor: LockedTensor | HeaderTensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)} at {tensor.begin}"


def _other(source: LockedSource, path: str, what: str) -> SourceCorrupt:
    return SourceCorrupt(
        f"the header of `{path}` differs from the one that was locked: {what}",
        where=f"{source.identity}@{source.pinned}",
        hint="the server answered range requests with other content than the whole file: check HF_ENDPOINT or the "
        "registry, then remove the lock and run `mlxbuild lock`",
    )
