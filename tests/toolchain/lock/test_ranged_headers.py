"""Servers that answer ranges from another content than the whole file: the fetch refuses what the lock says then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import LockedSource
from mlxbuild.toolchain.lock.make import make_lock
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.sources.errors import SourceCorrupt
from mlxbuild.toolchain.sources.headers import has_header
from tests.hub_server import LFS_BYTES, Fault, LocalHub
from tests.ollama_registry import Fault as OllamaFault
from tests.ollama_registry import Layer, LocalOllamaRegistry, digest_of, layer
from tests.toolchain.lock.tiny_sources import WriteRecipe, tiny_weights
from tests.toolchain.sources.gguf.tiny_gguf import metadata, tensors, tiny_gguf
from tests.toolchain.sources.gguf.written_models import llama3_factors
from tests.toolchain.sources.ollama.tiny_ollama import gguf_layers, tensor_layers
from tests.toolchain.weights.formats.gguf_blocks_of_chance import write
from tests.toolchain.weights.tiny_models import write_model

MODEL = "model.safetensors"


def fetched(source: LockedSource, store: Store) -> None:
    """Fetch every file as a build does."""
    catalogue = SourceCatalogue(Path(), store)
    for file in source.files:
        catalogue.fetch(source, file)


def padded(path: Path) -> bytes:
    """A GGUF file that is large enough for the Hub to give it by ranges."""
    return path.read_bytes() + bytes(LFS_BYTES)


def test_safetensors_of_the_hub(local_hub: LocalHub, store: Store, write_recipe: WriteRecipe) -> None:
    files = {"config.json": b'{"model_type": "llama"}', MODEL: tiny_weights("a", "b"), "tokenizer.json": b"{}"}
    local_hub.publish("acme/tiny", files)
    recipe = write_recipe("base: {hf_repo: acme/tiny}")
    local_hub.faults.append(Fault("blob", MODEL, replace=tiny_weights("a", "c")))
    (source,) = make_lock(recipe, store).sources
    local_hub.faults.clear()
    told = r"header of `model\.safetensors` differs from .*`b` is F32 \[4, 8\] at \d+ in the file alone"
    for _ in range(2):  # the second time the file is there already
        with pytest.raises(SourceCorrupt, match=told):
            fetched(source, store)
    (again,) = make_lock(recipe, store).sources
    fetched(again, store)


def test_gguf_of_the_hub(local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, tmp_path: Path) -> None:
    whole, other = padded(tiny_gguf(tmp_path / "a.gguf")), padded(tiny_gguf(tmp_path / "b.gguf", general__name="Ynit"))
    assert len(whole) == len(other)
    local_hub.publish("acme/tiny-GGUF", {"tiny.gguf": whole})
    recipe = write_recipe("base: {hf_repo: acme/tiny-GGUF, file: tiny.gguf}")
    local_hub.faults.append(Fault("blob", "tiny.gguf", replace=other))
    (source,) = make_lock(recipe, store).sources
    local_hub.faults.clear()
    with pytest.raises(SourceCorrupt, match=r"`tiny\.gguf` differs from .* and sha256:\w+ in the lock"):
        fetched(source, store)
    (again,) = make_lock(recipe, store).sources
    fetched(again, store)


def test_rotary_frequencies_of_the_hub(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    """They are numbers of a tensor, not of the header."""
    files = []
    for factor in (8.0, 32.0):
        scaling = {"factor": factor, "low_freq_factor": 1, "high_freq_factor": 4}
        numbers = llama3_factors(scaling | {"original_max_position_embeddings": 8192}, 10000.0, 64)
        path = tmp_path / f"{factor}.gguf"
        rows: Any = numbers.astype(np.float32)
        files.append(padded(write(path, tensors() | {"rope_freqs.weight": ("F32", rows)}, **metadata())))
    local_hub.publish("acme/tiny-GGUF", {"tiny.gguf": files[0]})
    local_hub.faults.append(Fault("blob", "tiny.gguf", replace=files[1]))
    (source,) = make_lock(write_recipe("base: {hf_repo: acme/tiny-GGUF, file: tiny.gguf}"), store).sources
    local_hub.faults.clear()
    with pytest.raises(SourceCorrupt, match="other rotary frequencies than the file"):
        fetched(source, store)


def test_gguf_of_ollama(
    ollama_registry: LocalOllamaRegistry, store: Store, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    layers = gguf_layers(tmp_path)
    layers[0] = layer("model", layers[0].content + bytes(1 << 20))
    other = tiny_gguf(tmp_path / "b.gguf", ["Q4_0"]).read_bytes()
    _refused(
        ollama_registry,
        store,
        write_recipe,
        layers,
        0,
        other + bytes(len(layers[0].content) - len(other)),
        "lock has `",
    )


def test_tensors_of_ollama(
    ollama_registry: LocalOllamaRegistry, store: Store, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    layers = tensor_layers(write_model(tmp_path / "model", "llama"), tmp_path)
    number, whole = next((n, each) for n, each in enumerate(layers) if b'"int4"' in each.content)
    other = whole.content.replace(b'"int4"', b'"int8"').replace(b'"group_size":"32"', b'"group_size":"16"')
    _refused(ollama_registry, store, write_recipe, layers, number, other, "another quantization of `model.")


def _refused(
    registry: LocalOllamaRegistry,
    store: Store,
    write_recipe: WriteRecipe,
    layers: list[Layer],
    number: int,
    other: bytes,
    told: str,
) -> None:
    """Lock with ranges of one layer answered from another content, then fetch all."""
    registry.publish("library/tiny:q8", layers)
    recipe = write_recipe(f'base: {{ollama: "{registry.host}/library/tiny:q8"}}')
    registry.faults.append(OllamaFault("storage", digest_of(layers[number].content), replace=other))
    (source,) = make_lock(recipe, store).sources
    registry.faults.clear()
    with pytest.raises(SourceCorrupt, match=told):
        fetched(source, store)
    weights = {file.blob.digest for file in source.files if has_header(source, file)}
    assert Digest.of_bytes(layers[number].content) in weights
    (again,) = make_lock(recipe, store).sources
    fetched(again, store)
