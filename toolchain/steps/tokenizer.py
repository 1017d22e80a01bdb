"""The step `tokenizer`: copies the tokenizer's files into the store."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import TrustError
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.action import ActionRecord, input_digest
from mlxbuild.toolchain.core.step import StepContext

TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tiktoken.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer.tiktoken",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""Files of a source that its tokenizer may need; their names are fixed."""
_PIECE_BYTES = 1024 * 1024


class ChangedSource(TrustError):
    """A source file no longer has the content that the lock names."""

    code = "changed-source"


class TokenizerStep:
    """Inputs: file name to content. Outputs: the same names.

    Files are copied byte for byte, except for the byte order mark of a JSON file, which loaders do not accept.
    """

    kind = "tokenizer"
    implementation = 2
    tools: tuple[str, ...] = ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """Copy the files that the store does not hold yet.

        Raises:
            SourceMissing: a file is not on this machine.
            ChangedSource: the content of a file has changed.
        """
        return {name: _stored(name, input_digest(record, name), context) for name in sorted(record.inputs)}


def _stored(name: str, digest: Digest, context: StepContext) -> Blob:
    store: Store = context.store
    is_known = store.has(digest)
    path = store.path(digest) if is_known else context.sources.locate(digest)
    if name.endswith(".json") and _begins_with_mark(path):
        content = path.read_bytes()
        _check(name, Digest.of_bytes(content), digest)
        return store.put(content.removeprefix(codecs.BOM_UTF8))
    if is_known:
        return Blob(digest, store.size(digest))
    context.checkpoint()
    with path.open("rb") as source, store.writer() as writer:
        while piece := source.read(_PIECE_BYTES):
            writer.write(piece)
            context.progress(len(piece))
        blob = writer.commit()
    _check(name, blob.digest, digest)
    return blob


def _begins_with_mark(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def _check(name: str, found: Digest, locked: Digest) -> None:
    if found != locked:
        raise ChangedSource(
            f"{name} has other bytes than the lock names",
            where=name,
            hint="run `mlxbuild lock` again if the change is meant",
        )
