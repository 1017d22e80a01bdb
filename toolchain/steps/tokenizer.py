"""The step `tokenizer`: the tokenizer's files go into the store byte for byte. What they mean is read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

from registry.digest import Blob, Digest
from registry.errors import TrustError
from registry.store.layout import Store
from toolchain.graph.action import ActionRecord, input_digest
from toolchain.steps.port import StepContext

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
"""The files of a source that its tokenizer may need, by their one name."""
_PIECE_BYTES = 1024 * 1024


class ChangedSource(TrustError):
    """A source file no longer has the content that the lock names."""

    code = "changed-source"


class TokenizerStep:
    """Inputs: file name to content. Outputs: the same names."""

    kind = "tokenizer"
    implementation = 1
    tools: tuple[str, ...] = ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """Copy what the store does not hold yet.

        Raises:
            SourceMissing: a file is not on this machine.
            ChangedSource: a file has another content by now.
        """
        return {name: _stored(name, input_digest(record, name), context) for name in sorted(record.inputs)}


def _stored(name: str, digest: Digest, context: StepContext) -> Blob:
    store: Store = context.store
    if store.has(digest):
        return Blob(digest, store.size(digest))
    context.checkpoint()
    with context.sources.locate(digest).open("rb") as source, store.writer() as writer:
        while piece := source.read(_PIECE_BYTES):
            writer.write(piece)
            context.progress(len(piece))
        blob = writer.commit()
    if blob.digest != digest:
        raise ChangedSource(
            f"{name} has other bytes than the lock names",
            where=name,
            hint="run `mlxbuild lock` again if the change is meant",
        )
    return blob
