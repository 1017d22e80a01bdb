"""Notices about an artifact that was built successfully, such as parts of its sources that were left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import LockedTensor
from mlxbuild.toolchain.events.model import Warned
from mlxbuild.toolchain.graph.compile import LockedVariant, VariantNodes
from mlxbuild.toolchain.sources.errors import SourceMissing
from mlxbuild.toolchain.weights.accuracy import errors_told

_INDEX = "model.safetensors.index.json"
_HEAD = "lm_head.weight"
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
_SAMPLES, _SAMPLE_BYTES = 16, 65536


def warnings_of(
    variants: Sequence[LockedVariant],
    goals: Sequence[VariantNodes],
    manifests: Mapping[str, Blob],
    outputs: Mapping[str, Mapping[str, Blob]],
    store: Store,
) -> Iterator[Warned]:
    """The warnings about what was built or found in the cache: each once, with the labels that it concerns."""
    warned: dict[str, list[str]] = {}
    for variant, goal in zip(variants, goals, strict=True):
        if (manifest := manifests.get(goal.spec.label)) is None:
            continue
        sentences = list(notices(variant, Artifact.open(store, manifest.digest)))
        if (blob := outputs.get(goal.template, {}).get("warnings")) is not None:
            sentences += json.loads(store.read(blob.digest))
        for sentence in sentences:
            warned.setdefault(sentence, []).append(goal.spec.label)
    return (Warned(sentence, where=", ".join(labels)) for sentence, labels in warned.items())


def notices(variant: LockedVariant, artifact: Artifact) -> Iterator[str]:
    """The parts of a variant's sources that were left out of its artifact or changed, one sentence each."""
    if variant.base.kind != "artifact" and (lost := errors_told(artifact)):
        yield (
            f"NVFP4's scales of whole tensors do not fit into MLX's form exactly: {lost}, relative root mean square; "
            "`quantization: bf16` decodes them without that"
        )
    heads = [tensor for tensor in variant.base.tensors if tensor.name.rpartition(".")[0].endswith("lm_head")]
    head = next((tensor for tensor in heads if tensor.name.endswith(_HEAD)), None)
    if head is not None and not _has_head(artifact) and _is_tied(artifact) and not _is_embedding(variant, head):
        yield (
            f"config.json ties the head to the embeddings, so `{head.name}` of {head.file} is left out; "
            "a head that was trained on its own needs `tie_word_embeddings: false` there"
        )


def _has_head(artifact: Artifact) -> bool:
    if artifact.file(_INDEX) is None:
        return True
    return any("lm_head." in name for name in artifact.read_object(_INDEX).get("weight_map") or ())


def _is_tied(artifact: Artifact) -> bool:
    config = artifact.read_object("config.json")
    text = config.get("text_config")
    return bool({**config, **(text if isinstance(text, dict) else {})}.get("tie_word_embeddings", True))


def _is_embedding(variant: LockedVariant, head: LockedTensor) -> bool:
    """Whether the head equals the embeddings, judging by samples: many checkpoints store them twice."""
    for tensor in variant.base.tensors:
        if tensor.name.endswith(_EMBEDDINGS) and (tensor.dtype, tensor.shape) == (head.dtype, head.shape):
            with suppress(SourceMissing, OSError):
                return _samples(variant, tensor) == _samples(variant, head)
    return False


def _samples(variant: LockedVariant, tensor: LockedTensor) -> list[bytes]:
    file = variant.base.file(tensor.file)
    assert file is not None
    path: Path = variant.catalogue.locate(variant.base, file)
    last = max(0, tensor.size_bytes - _SAMPLE_BYTES)
    samples = []
    with path.open("rb") as stream:
        for number in range(_SAMPLES):
            stream.seek(tensor.begin + last * number // (_SAMPLES - 1))
            samples.append(stream.read(min(_SAMPLE_BYTES, tensor.size_bytes)))
    return samples
