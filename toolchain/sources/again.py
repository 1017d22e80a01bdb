"""Derives the documents of a locked source again if this machine does not have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlxbuild.toolchain.core.lock import LockedFile, LockedSource
from mlxbuild.toolchain.core.lock_errors import StaleLock
from mlxbuild.toolchain.sources.errors import SourceCorrupt
from mlxbuild.toolchain.sources.gguf.parts import OpenFile, local_file, read_gguf_files
from mlxbuild.toolchain.sources.gguf.split import split_paths
from mlxbuild.toolchain.spec.ollama_name import OllamaName

if TYPE_CHECKING:
    from mlxbuild.toolchain.sources.hub import Hub
    from mlxbuild.toolchain.sources.ollama.registry import OllamaRegistry


def derive_again(
    source: LockedSource,
    place: Callable[[LockedSource, LockedFile], Path],
    hub: Callable[[], Hub],
    ollama: Callable[[], OllamaRegistry],
) -> Mapping[str, bytes]:
    """The derived documents of a locked source, from the header of its file, read locally or by range requests.

    Args:
        source: The source.
        place: Returns the path of a file that is on this machine.
        hub: Returns the Hub client, for files on the Hub.
        ollama: Returns the client of Ollama's registry, for its models.

    Raises:
        StaleLock: the header of a local file is not the locked one.
        SourceCorrupt: the Hub returns a different header.
        MlxbuildError: the file cannot be read.
    """
    if source.kind == "ollama":
        from mlxbuild.toolchain.sources.ollama.model import read_model

        layers = {file.path: file.blob for file in source.files if not file.derived}
        name = OllamaName.parse(source.identity)
        return read_model(ollama(), name, layers, tokenizer=source.derives_tokenizer).documents
    locked = {file.path: file for file in source.files}
    on_hub = source.kind == "hub"
    where = f"{source.identity}@{source.pinned}" if on_hub else source.identity

    @contextmanager
    def opener(path: str) -> Iterator[OpenFile]:
        if on_hub:
            # A downloaded copy saves requests; the digest of its header shows whether it is the locked file.
            for copy in hub().cached(source.identity, source.pinned or "", path):
                with local_file(copy) as file:
                    yield file
                return
            read = hub().reader(source.identity, source.pinned or "", path)
            yield OpenFile(read, locked[path].blob.size_bytes, f"{where}/{path}")
            return
        with local_file(place(source, locked[path])) as file:
            yield file

    files = read_gguf_files(split_paths(source.gguf or ""), opener, where, tokenizer=source.derives_tokenizer)
    if files.digest != source.header:
        what = f"the header of `{source.gguf}` is not the one that was locked"
        if on_hub:
            raise SourceCorrupt(what, where=where, hint="check HF_ENDPOINT")
        raise StaleLock(what, where=where, hint="run `mlxbuild lock` if the change is meant")
    return files.model.documents
