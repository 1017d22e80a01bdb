"""Artifacts built from GGUF files, whole: what they hold, what they say of it, and how it is proven."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

from mlxbuild.registry.artifact.files import UnsafePath
from mlxbuild.registry.artifact.folder import model_folder
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.residency.memory_need import MemoryNeed
from mlxbuild.toolchain.against_source import (
    NotComparable,
    OtherThanItsSource,
    SourceComparison,
    TensorComparison,
    compare_with_source,
    require_as_claimed,
)
from mlxbuild.toolchain.create import create
from mlxbuild.toolchain.events.model import Event, Warned
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.evidence.provenance import contradictions, provenance
from mlxbuild.toolchain.lock.file import decode
from mlxbuild.toolchain.lock.portable import require_portable
from mlxbuild.toolchain.prepare import LockMode, prepare
from mlxbuild.toolchain.rebuild import rebuild
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.spec.load import load
from mlxbuild.toolchain.weights.accuracy import accuracies_of, told
from tests.hub_server import LocalHub
from tests.toolchain.sources.gguf.tiny_gguf import (
    HEADS,
    KEY_HEADS,
    LAYERS,
    matrices,
    metadata,
    norms,
    numbers_of,
    split_gguf,
    tensors,
    tiny_gguf,
)
from tests.toolchain.sources.gguf.written_models import CONFIGURATIONS, random_model, write_gguf
from tests.toolchain.weights.formats.gguf_blocks_of_chance import write

EXACT = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "MXFP4", "F32", "F16", "BF16")


class Events:
    """Keeps all events."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def handle(self, event: Event) -> None:
        self.all.append(event)

    def close(self) -> None:
        pass

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.all if isinstance(event, Warned)]


def build(folder: Path, store: Store, lines: str, events: Events | None = None, *, version: str = "1.0") -> Artifact:
    """The first artifact of a recipe with these lines."""
    path = folder / "ModelSpec.yaml"
    path.write_text(f'name: tiny\nversion: "{version}"\n{lines}\n')
    locked = prepare(load(path), store, LockMode.UPDATE)
    report = create(locked.variants(), store, EventStream([events] if events else []), run="test")
    if report.errors:
        raise report.errors[0]
    digest = report.artifacts[0].digest
    assert digest is not None
    return Artifact.open(store, digest)


def arrays(artifact: Artifact) -> dict[str, mx.array]:
    """Its tensors."""
    found: dict[str, Any] = {}
    for file in artifact.files:
        if file.path.endswith(".safetensors"):
            found |= dict(mx.load(str(artifact.store.path(file.blob.digest)), format="safetensors"))  # type: ignore[arg-type]
    return found


def document(artifact: Artifact, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(artifact.read(path))
    return found


def facts(artifact: Artifact) -> ModelFacts:
    return ModelFacts.from_json(artifact.read("mlxbuild/facts.json"))


def interleaved(weight: Any, heads: int) -> Any:
    """What llama.cpp's converter does to rows of q and k (`LlamaModel.permute`)."""
    return weight.reshape(heads, 2, len(weight) // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def test_every_type_that_maps_is_held_exactly(tmp_path: Path, store: Store) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf", EXACT)
    artifact = build(tmp_path, store, "base: {gguf: tiny.gguf}")
    assert set(accuracies_of(artifact).values()) == {"exact"}
    comparison = compare_with_source(artifact, tmp_path / "ModelSpec.yaml")
    require_as_claimed(comparison)
    assert len(comparison.tensors) == len(numbers_of(path)) == len(matrices()) + len(norms())
    assert {tensor.type for tensor in comparison.tensors} == set(EXACT)
    assert comparison.largest("exact") == 0
    assert comparison.counts() == {"exact": len(comparison.tensors), "near": 0, "rounded": 0}


def test_rows_that_the_converter_interleaved_are_as_before(tmp_path: Path, store: Store) -> None:
    """A twin in the layout of the Hugging Face Hub holds the same bytes, whatever its random rows are."""
    chance = np.random.default_rng(3)
    plain = {name: chance.normal(size=shape).astype(np.float32) for name, shape in matrices().items()}
    stored: dict[str, tuple[str, Any]] = {
        name: ("F32", (interleaved(weight, heads) if heads else weight).view(np.uint8))
        for name, weight in plain.items()
        for heads in [HEADS if "attn_q" in name else KEY_HEADS if "attn_k" in name else None]
    }
    stored |= {name: tensors()[name] for name in norms()}
    write(tmp_path / "tiny.gguf", stored, **metadata())
    built = arrays(build(tmp_path, store, "base: {gguf: tiny.gguf}"))
    for layer in range(LAYERS):
        for here, there in (("attn_q", "self_attn.q_proj"), ("attn_k", "self_attn.k_proj"), ("ffn_up", "mlp.up_proj")):
            found = np.array(built[f"model.layers.{layer}.{there}.weight"])
            assert np.array_equal(found, plain[f"blk.{layer}.{here}.weight"]), (layer, here)


@pytest.mark.parametrize("case", CONFIGURATIONS)
@pytest.mark.parametrize("kind", [None, "Q8_0"])
def test_every_family_is_built_as_it_was(case: str, kind: str | None, tmp_path: Path, store: Store) -> None:
    architecture, config = CONFIGURATIONS[case]
    model = random_model(config)
    write_gguf(tmp_path / "tiny.gguf", architecture, config, model, kind)
    artifact = build(tmp_path, store, "base: {gguf: tiny.gguf}")
    comparison = compare_with_source(artifact, tmp_path / "ModelSpec.yaml")
    require_as_claimed(comparison)
    assert comparison.counts()["exact"] == len(comparison.tensors)
    if kind is None:
        parameters: Any = tree_flatten(model.parameters())
        built = arrays(artifact)
        assert built.keys() == {name for name, _ in parameters}
        for name, value in parameters:
            assert mx.array_equal(built[name], value), name
    else:
        dense = build(tmp_path, store, "base: {gguf: tiny.gguf}\nquantization: none")
        kept, plain = (_logits(model_folder(store, each.digest)) for each in (artifact, dense))
        assert mx.allclose(kept, plain, rtol=0, atol=1e-5 * float(mx.abs(plain).max()))


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_norms_in_16_bits_lose_nothing_with_the_1_that_was_added(kind: str, tmp_path: Path, store: Store) -> None:
    architecture, config = CONFIGURATIONS["gemma2"]
    model = random_model(config)
    small = mx.linspace(-0.99, 0.5, config["hidden_size"])
    model.load_weights([(name, small) for name, _ in tree_flatten(model.parameters()) if "norm" in name], strict=False)
    write_gguf(tmp_path / "tiny.gguf", architecture, config, model, kind, vectors=kind)
    artifact = build(tmp_path, store, "base: {gguf: tiny.gguf}")
    comparison = compare_with_source(artifact, tmp_path / "ModelSpec.yaml")
    require_as_claimed(comparison)
    assert comparison.counts()["exact"] == len(comparison.tensors)
    held = {name: value.dtype for name, value in arrays(artifact).items()}
    assert {dtype for name, dtype in held.items() if "norm" in name} == {mx.float32}
    assert facts(artifact).compute_dtype == "float32"


def _logits(folder: Path) -> mx.array:
    network, _ = load_model(folder)
    return network(mx.array([[3, 17, 5, 9]]))


def test_what_it_computes_in_is_said_and_counted(tmp_path: Path, store: Store) -> None:
    tiny_gguf(tmp_path / "tiny.gguf", ["Q4_K", "Q6_K"])
    wide = build(tmp_path, store, "base: {gguf: tiny.gguf}")
    assert facts(wide).compute_dtype == "float32"
    assert document(wide, "config.json")["torch_dtype"] == "float32"
    assert set(accuracies_of(wide).values()) == {"exact", "near"}
    narrow = build(tmp_path, store, "base: {gguf: tiny.gguf}\ndtype: bfloat16")
    assert facts(narrow).compute_dtype == "bfloat16"
    assert facts(wide).kv_bytes_per_token == 2 * (facts(narrow).kv_bytes_per_token or 0)
    assert set(accuracies_of(narrow).values()) == {"near"}
    assert {str(array.dtype) for array in arrays(narrow).values()} == {"mlx.core.bfloat16", "mlx.core.uint32"}
    # On a CPU both keep caches in float32.
    assert MemoryNeed.of(store, wide.digest).cache_bytes == MemoryNeed.of(store, narrow.digest).cache_bytes


def test_another_quantization_is_a_second_rounding(tmp_path: Path, store: Store) -> None:
    tiny_gguf(tmp_path / "tiny.gguf", ["Q3_K", "IQ4_NL", "F32"])
    with pytest.raises(MlxbuildError, match="is of type Q3_K, for which MLX has no form") as caught:
        build(tmp_path, store, "base: {gguf: tiny.gguf}")
    assert caught.value.code == "unsuitable-gguf"
    events = Events()
    artifact = build(tmp_path, store, "base: {gguf: tiny.gguf}\nquantization: int8", events)
    assert [message.partition(":")[0] for message in events.warnings] == ["`tiny"]
    assert "rounds numbers of Q3_K a second time" in events.warnings[0]
    kinds = accuracies_of(artifact)
    assert kinds["model.layers.0.mlp.up_proj.weight"] == "rounded"
    assert kinds["model.norm.weight"] == "exact"
    comparison = compare_with_source(artifact, tmp_path / "ModelSpec.yaml")
    assert 0 < comparison.largest("rounded") < 0.05
    assert told(kinds).startswith(f"{len(norms())} exact, ")
    dense = Events()
    plain = build(tmp_path, store, "base: {gguf: tiny.gguf}\nquantization: none", dense, version="1.1")
    assert dense.warnings == []
    assert compare_with_source(plain, tmp_path / "ModelSpec.yaml").largest("exact") == 0


def test_the_provenance_says_how_close_tensors_are(tmp_path: Path, store: Store) -> None:
    tiny_gguf(tmp_path / "tiny.gguf", ["Q8_0", "Q6_K"])
    artifact = build(tmp_path, store, "base: {gguf: tiny.gguf}")
    predicate = provenance(artifact, None, store.put(b"{}").digest)
    definition: Mapping[str, Any] = predicate["buildDefinition"]
    assert "model.embed_tokens.weight" in definition["internalParameters"]["accuracy"]["exact"]
    assert definition["internalParameters"]["accuracy"]["near"]
    assert [each["name"] for each in definition["resolvedDependencies"]] == ["base/tiny.gguf"]
    assert contradictions(predicate, artifact) == ()
    definition["internalParameters"]["accuracy"]["exact"].append("model.layers.0.mlp.up_proj.weight")
    assert contradictions(predicate, artifact) == (
        "the provenance and the artifact disagree on how close tensors are to their source",
    )


def test_parts_of_a_split_model_are_built_like_one(tmp_path: Path, store: Store) -> None:
    paths = split_gguf(tmp_path, "tiny", 2)
    split = build(tmp_path, store, f"base: {{gguf: {paths[0].name}}}")
    tiny_gguf(tmp_path / "tiny.gguf")
    whole = build(tmp_path, store, "base: {gguf: tiny.gguf}")
    weights = [[file for file in artifact.files if "safetensors" in file.path] for artifact in (split, whole)]
    assert weights[0] == weights[1]
    assert compare_with_source(split, tmp_path / "ModelSpec.yaml").largest("exact") == 0


def test_a_rebuild_gives_the_same_digest(tmp_path: Path, store: Store) -> None:
    tiny_gguf(tmp_path / "tiny.gguf", ["Q5_K"])
    artifact = build(tmp_path, store, "base: {gguf: tiny.gguf}")
    assert rebuild(artifact, tmp_path / "ModelSpec.yaml", EventStream([]), run="again") == artifact.digest


def test_one_changed_tensor_leaves_other_blocks_bytes(tmp_path: Path, store: Store) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf")
    before = {file.path: file.blob for file in build(tmp_path, store, "base: {gguf: tiny.gguf}").files}
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # in the last norm
    path.write_bytes(data)
    after = {file.path: file.blob for file in build(tmp_path, store, "base: {gguf: tiny.gguf}").files}
    changed = [name for name in before if name.endswith(".safetensors") and before[name] != after[name]]
    assert changed == [f"model-{LAYERS + 2:05d}-of-{LAYERS + 2:05d}.safetensors"]


def test_a_comparison_with_the_base_is_refused_by_name(tmp_path: Path, store: Store) -> None:
    tiny_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "text.txt").write_text("ab")
    gate = "tests: [{perplexity: {dataset: text.txt, max_increase_vs_base: 5%}}]"
    with pytest.raises(MlxbuildError, match="a GGUF file cannot be loaded as it is"):
        build(tmp_path, store, f"base: {{gguf: tiny.gguf}}\n{gate}")


def test_what_is_called_exact_has_to_be() -> None:
    exact, false = TensorComparison("a", "Q8_0", "exact", 0.0), TensorComparison("b", "Q8_0", "exact", 0.25)
    near = TensorComparison("c", "Q6_K", "near", 0.5)
    require_as_claimed(SourceComparison("x.gguf", (exact, near)))
    with pytest.raises(OtherThanItsSource, match=r"1 tensors are called exact and are not: `b` differs by 0\.25"):
        require_as_claimed(SourceComparison("x.gguf", (exact, false, near)))


def test_other_sources_are_proven_otherwise(tmp_path: Path, store: Store) -> None:
    from tests.toolchain.weights.tiny_models import write_model

    folder = write_model(tmp_path / "model", "llama")
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}))
    artifact = build(tmp_path, store, "base: {path: model}")
    with pytest.raises(NotComparable, match="was not built from a GGUF file"):
        compare_with_source(artifact, tmp_path / "ModelSpec.yaml")


def test_a_file_of_the_hub_is_built_and_its_documents_come_again_from_the_copy(
    local_hub: LocalHub, tmp_path: Path, store: Store
) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf", ["Q4_K"])
    local_hub.publish("acme/tiny-GGUF", {"tiny-Q4_K_M.gguf": path.read_bytes()})
    recipe = "base: {hf_repo: acme/tiny-GGUF, file: tiny-Q4_K_M.gguf}"
    there = build(tmp_path, store, recipe)
    here = build(tmp_path, store, "base: {gguf: tiny.gguf}")
    assert [file.blob for file in there.files if "safetensors" in file.path] == [
        file.blob for file in here.files if "safetensors" in file.path
    ]
    assert compare_with_source(there, tmp_path / "ModelSpec.yaml").largest("exact") == 0
    asked = len(local_hub.requests)
    elsewhere = Store.open(Home(tmp_path / "elsewhere"))
    lock = decode(there.read("mlxbuild/ModelSpec.lock"), "ModelSpec.lock")
    catalogue = SourceCatalogue(tmp_path, elsewhere)
    for file in lock.sources[0].files:
        assert Digest.of_bytes(catalogue.fetch(lock.sources[0], file).read_bytes()) == file.blob.digest
    assert len(local_hub.requests) == asked


def test_a_file_on_another_disk_is_a_base(tmp_path: Path, store: Store) -> None:
    disk, folder = tmp_path / "disk", tmp_path / "recipe"
    disk.mkdir()
    folder.mkdir()
    tiny_gguf(disk / "blob")
    (disk / "tiny.gguf").symlink_to("blob")
    absolute = build(folder, store, f"base: {{gguf: {disk}/tiny.gguf}}")
    (folder / "linked.gguf").symlink_to(disk / "tiny.gguf")
    linked = build(folder, store, "base: {gguf: linked.gguf}")
    weights = [[file.blob for file in it.files if "safetensors" in file.path] for it in (absolute, linked)]
    assert weights[0] == weights[1]
    with pytest.raises(UnsafePath):
        require_portable(load(folder / "ModelSpec.yaml"))
