"""Locks made from recipes over the Hub, folders and artifacts; what is kept, what moves, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlxbuild.registry.artifact.files import ArtifactFile, FileRole, UnsafePath
from mlxbuild.registry.artifact.modelpack import ArtifactDescription, build
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import Descriptor, UnknownReference
from mlxbuild.toolchain.core.lock import Lock
from mlxbuild.toolchain.lock.file import encode
from mlxbuild.toolchain.lock.make import changes, make_lock
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.sources.errors import (
    CustomCode,
    DuplicateTensor,
    PickledWeights,
    RevisionMissing,
    SourceCorrupt,
    SourceIncomplete,
    SourceMissing,
)
from mlxbuild.toolchain.weights.safetensors import UnsafeWeights
from tests.hub_server import Fault, LocalHub
from tests.toolchain.lock.tiny_sources import WriteRecipe, tiny_weights

_TAKEN = [
    "config.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "tokenizer.json",
]


def _paths(lock: Lock, role: str = "base") -> list[str]:
    source = lock.source(role)
    assert source is not None
    return [file.path for file in source.files]


@pytest.mark.usefixtures("model_folder")
def test_a_folder_is_locked_by_content(store: Store, write_recipe: WriteRecipe, tiny_model: dict[str, bytes]) -> None:
    lock = make_lock(write_recipe("base: {path: ./model}"), store)
    (base,) = lock.sources
    assert (base.role, base.kind, base.identity, base.pinned) == ("base", "folder", "./model", None)
    assert {file.path: file.blob.digest for file in base.files} == {
        path: Digest.of_bytes(tiny_model[path]) for path in _TAKEN
    }
    for tensor in base.tensors:
        assert (tensor.dtype, tensor.shape, tensor.size_bytes) == ("F32", (4, 8), 128)
        data = tiny_model[tensor.file][tensor.begin : tensor.begin + tensor.size_bytes]
        assert data == b"\x00\x00\x80\x3f" * 32
    assert [tensor.name for tensor in base.tensors] == ["embed", "layers.0.w", "head", "layers.1.w"]


def test_a_repository_is_locked_without_moving_weights(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, model_folder: Path, tiny_model: dict[str, bytes]
) -> None:
    big = tiny_weights(*(f"layers.{number}.w" for number in range(900)))
    files = {**tiny_model, "model-00001-of-00002.safetensors": big, "model-00002-of-00002.safetensors": tiny_weights()}
    commit = local_hub.publish("acme/tiny", files)
    (base,) = make_lock(write_recipe("base: {hf_repo: acme/tiny}"), store).sources
    assert (base.kind, base.identity, base.requested, base.pinned) == ("hub", "acme/tiny", "main", commit)
    assert local_hub.count("blob", "GET") == 3  # one header is larger than what the first request asks for
    assert all(request.range for request in local_hub.requests if request.route == "blob" and request.method == "GET")
    for path, data in files.items():
        (model_folder / path).write_bytes(data)
    (local,) = make_lock(write_recipe("base: {path: ./model}"), store).sources
    assert (base.files, base.tensors) == (local.files, local.tensors)
    assert len(base.tensors) == 901


def test_small_files_of_a_lock_are_not_downloaded_again(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, tiny_model: dict[str, bytes]
) -> None:
    local_hub.publish("acme/tiny", tiny_model)
    (base,) = make_lock(write_recipe("base: {hf_repo: acme/tiny}"), store).sources
    asked = len(local_hub.requests)
    config = base.file("config.json")
    assert config is not None
    path = SourceCatalogue(Path(), store).fetch(base, config)
    assert path.read_bytes() == tiny_model["config.json"]
    assert len(local_hub.requests) == asked


def test_weights_in_the_clients_cache_need_no_ranged_reads(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, tiny_model: dict[str, bytes]
) -> None:
    local_hub.publish("acme/tiny", tiny_model)
    recipe = write_recipe("base: {hf_repo: acme/tiny}")
    (base,) = first = make_lock(recipe, store).sources
    for file in base.files:
        SourceCatalogue(Path(), store).fetch(base, file)
    asked = local_hub.count("blob")
    assert make_lock(recipe, store).sources == first
    assert local_hub.count("blob") == asked


def test_a_branch_that_moved_stays_pinned_until_an_upgrade(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, tiny_model: dict[str, bytes]
) -> None:
    recipe = write_recipe("base: {hf_repo: acme/tiny}\ntokenizer: {hf_repo: acme/words}")
    old = local_hub.publish("acme/tiny", tiny_model)
    words = local_hub.publish("acme/words", {"tokenizer.json": b"{}"})
    first = make_lock(recipe, store)
    new = local_hub.publish("acme/tiny", {**tiny_model, "config.json": b"{}"})
    local_hub.publish("acme/words", {"tokenizer.json": b"{ }"})
    asked = len(local_hub.requests)
    assert make_lock(recipe, store, first) == first
    assert len(local_hub.requests) == asked
    some = make_lock(recipe, store, first, upgrade={"base"})
    assert [source.pinned for source in some.sources] == [new, words]
    assert changes(first, some) == (f"`base` (`acme/tiny@main`) moved from {old[:12]} to {new[:12]}",)
    assert make_lock(recipe, store, some, upgrade=True) != some
    assert make_lock(recipe, store) == make_lock(recipe, store, first, upgrade=True)


def test_what_the_recipe_names_anew_is_pinned_and_the_rest_is_kept(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, tiny_model: dict[str, bytes]
) -> None:
    base = local_hub.publish("acme/tiny", tiny_model)
    adapter = local_hub.publish(
        "acme/lora", {"adapters.safetensors": tiny_weights("a"), "adapter_config.json": b"{}", "notes.json": b"{}"}
    )
    first = make_lock(write_recipe("base: {hf_repo: acme/tiny}"), store)
    local_hub.publish("acme/tiny", {**tiny_model, "config.json": b"{}"})
    second = make_lock(write_recipe("base: {hf_repo: acme/tiny}\nadapters: [{hf_repo: acme/lora}]"), store, first)
    assert {source.role: source.pinned for source in second.sources} == {"base": base, "adapter.0": adapter}
    assert _paths(second, "adapter.0") == ["adapter_config.json", "adapters.safetensors"]
    assert changes(first, second) == (f"`adapter.0` is now `acme/lora@main` at {adapter[:12]}",)
    assert changes(second, first) == ("`adapter.0` is no longer a source",)
    include = 'base: {hf_repo: acme/tiny, include: ["config.json", "model-*.safetensors"]}'
    third = make_lock(write_recipe(include), store, second)
    assert _paths(third) == _TAKEN[:3]
    assert third.sources[0].pinned == base
    v1 = local_hub.publish("acme/tiny", {**tiny_model, "config.json": b"{ }"}, "v1")
    fourth = make_lock(write_recipe("base: {hf_repo: acme/tiny, revision: v1}"), store, third)
    assert fourth.sources[0].pinned == v1


def test_an_artifact_is_locked_by_its_manifest(store: Store, write_recipe: WriteRecipe) -> None:
    def publish(config: bytes) -> Digest:
        contents = {
            "config.json": (FileRole.CONFIG, config),
            "model-00001-of-00001.safetensors": (FileRole.WEIGHT, tiny_weights("embed", "head")),
            "mlxbuild/defaults.json": (FileRole.CONFIG, b"{}"),
            "mlxbuild/ModelSpec.lock": (FileRole.DOC, b"lock"),
            "LICENSE": (FileRole.DOC, b"free"),
        }
        files = [ArtifactFile(path, role, store.put(data)) for path, (role, data) in contents.items()]
        digest = Digest.of_bytes(b"")
        manifest = build(store, ArtifactDescription("hello", "1.0", "hello", digest, digest), files)
        name = Reference.parse("hello:int4@1.0").store_name
        store.tags.set({name: Descriptor(manifest.digest, manifest.size_bytes, "application/json")})
        return manifest.digest

    recipe = write_recipe("base: {from: hello:int4@1.0}")
    with pytest.raises(UnknownReference):
        make_lock(recipe, store)
    digest = publish(b"{}")
    first = make_lock(recipe, store)
    assert first.sources[0].pinned == str(digest)
    weights = "model-00001-of-00001.safetensors"
    assert _paths(first) == ["LICENSE", "config.json", "mlxbuild/defaults.json", weights]
    assert [tensor.name for tensor in first.sources[0].tensors] == ["embed", "head"]
    moved = publish(b"{ }")
    assert make_lock(recipe, store, first) == first
    upgraded = make_lock(recipe, store, first, upgrade=True)
    assert upgraded.sources[0].pinned == str(moved)
    assert len(changes(first, upgraded)) == 1


def test_a_lock_holds_no_trace_of_the_machine(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, model_folder: Path, tiny_model: dict[str, bytes]
) -> None:
    local_hub.publish("acme/words", {"tokenizer.json": b"{}"})
    recipe = write_recipe("base: {path: ./model}\ntokenizer: {hf_repo: acme/words}")
    data = encode(make_lock(recipe, store))
    assert data == encode(make_lock(recipe, store))
    for trace in (str(model_folder.parent), "127.0.0.1", "http", "2026", "2027"):
        assert trace.encode() not in data


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"config.json": b'{"model_file": "modeling_tiny.py"}'}, CustomCode, "model_file"),
        ({"config.json": b"{"}, SourceIncomplete, "not JSON"),
        ({"config.json": b"[]"}, SourceIncomplete, "not a JSON object"),
        ({"config.json": None}, SourceIncomplete, r"config\.json"),
        ({"model-00001-of-00002.safetensors": None, "model-00002-of-00002.safetensors": None}, PickledWeights, "bin"),
        ({"model-00002-of-00002.safetensors": tiny_weights("embed")}, DuplicateTensor, "`embed`"),
        ({"model-00002-of-00002.safetensors": tiny_weights()[:60]}, UnsafeWeights, "."),
        ({"model-00002-of-00002.safetensors": tiny_weights() + b"x"}, UnsafeWeights, "."),
        (
            {"model.safetensors.index.json": json.dumps({"weight_map": {"x": "model-00003.safetensors"}}).encode()},
            SourceIncomplete,
            "model-00003",
        ),
        ({"Tokenizer.json": b"{}"}, UnsafePath, "one file"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
@pytest.mark.parametrize("kind", ["hub", "folder"])
def test_a_source_that_cannot_be_built_from_is_refused(
    local_hub: LocalHub,
    store: Store,
    write_recipe: WriteRecipe,
    model_folder: Path,
    tiny_model: dict[str, bytes],
    kind: str,
    changed: dict[str, bytes | None],
    error: type[Exception],
    words: str,
) -> None:
    files = {path: data for path, data in {**tiny_model, **changed}.items() if data is not None}
    for path in model_folder.iterdir():
        path.unlink()
    for path, data in files.items():
        (model_folder / path).write_bytes(data)
    local_hub.publish("acme/tiny", files)
    recipe = write_recipe("base: {path: ./model}" if kind == "folder" else "base: {hf_repo: acme/tiny}")
    with pytest.raises(error, match=words) as caught:
        make_lock(recipe, store)
    assert getattr(caught.value, "hint", None)
    assert ("acme/tiny" if kind == "hub" else str(model_folder)) in str(getattr(caught.value, "where", None))


def test_custom_code_that_is_only_offered_is_ignored(
    store: Store, write_recipe: WriteRecipe, model_folder: Path
) -> None:
    (model_folder / "config.json").write_bytes(b'{"auto_map": {"AutoModel": "modeling_tiny.TinyModel"}}')
    assert _paths(make_lock(write_recipe("base: {path: ./model}"), store)) == _TAKEN


def test_what_is_not_there_is_named(local_hub: LocalHub, store: Store, write_recipe: WriteRecipe) -> None:
    local_hub.publish("acme/tiny", {})
    with pytest.raises(RevisionMissing):
        make_lock(write_recipe("base: {hf_repo: acme/tiny, revision: v9}"), store)
    recipe = write_recipe("base: {hf_repo: acme/tiny}")
    with pytest.raises(SourceIncomplete):
        make_lock(recipe, store)


def test_a_folder_that_vanished_is_named(store: Store, write_recipe: WriteRecipe, model_folder: Path) -> None:
    recipe = write_recipe("base: {path: ./model}")
    for path in model_folder.iterdir():
        path.unlink()
    model_folder.rmdir()
    with pytest.raises(SourceMissing):
        make_lock(recipe, store)


def test_small_files_with_wrong_bytes_are_refused(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, tiny_model: dict[str, bytes]
) -> None:
    local_hub.publish("acme/tiny", tiny_model)
    local_hub.faults.append(Fault("resolve", "config.json", method="GET", replace=b'{"model_type": "gemma"}'))
    with pytest.raises(SourceCorrupt, match=r"config\.json"):
        make_lock(write_recipe("base: {hf_repo: acme/tiny}"), store)
