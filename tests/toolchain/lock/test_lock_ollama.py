"""Locks of models in Ollama's registry: what is asked for, what is kept, and everything that goes wrong on the way."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.oci.remote.errors import ManifestUnknown, RegistryFailure, RegistryUnreachable, TransferCorrupt
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import LockedSource
from mlxbuild.toolchain.lock.file import decode, encode
from mlxbuild.toolchain.lock.judge import staleness
from mlxbuild.toolchain.lock.make import changes, make_lock
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.sources.ollama.manifest import BrokenOllamaManifest, UnsupportedOllamaModel
from tests.ollama_registry import Fault, Layer, LocalOllamaRegistry, digest_of, layer, write_local_models
from tests.toolchain.lock.tiny_sources import WriteRecipe
from tests.toolchain.sources.gguf.tiny_gguf import TEMPLATE, tiny_gguf
from tests.toolchain.sources.ollama.tiny_ollama import gguf_layers

DERIVED = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "mlxbuild/defaults.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


def base(registry: LocalOllamaRegistry, name: str = "library/tiny:q8") -> str:
    return f'base: {{ollama: "{registry.host}/{name}"}}'


def fetched(source: LockedSource, store: Store, folder: Path) -> dict[str, bytes]:
    """Every file, as a build gets it."""
    catalogue = SourceCatalogue(folder, store)
    return {file.path: catalogue.fetch(source, file).read_bytes() for file in source.files}


@pytest.fixture
def layers(tmp_path: Path) -> list[Layer]:
    return gguf_layers(tmp_path, layer("projector", b"GGUF"))


def test_a_model_is_locked_without_moving_its_weights(
    ollama_registry: LocalOllamaRegistry,
    layers: list[Layer],
    store: Store,
    write_recipe: WriteRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = base64.b64encode(b"user:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {ollama_registry.host: {"auth": secret}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    layers[0] = layer("model", layers[0].content + bytes(3 << 20))
    digest = ollama_registry.publish("library/tiny:q8", layers)
    recipe, told = write_recipe(base(ollama_registry)), list[str]()
    lock = make_lock(recipe, store, notice=told.append)
    (source,) = lock.sources
    assert (source.kind, source.identity, source.pinned) == (
        "ollama",
        f"{ollama_registry.host}/library/tiny:q8",
        digest,
    )
    assert [file.path for file in source.files if file.derived] == DERIVED
    weights = layers[0].content
    assert source.file("model.gguf").blob == Blob(Digest.of_bytes(weights), len(weights))  # type: ignore[union-attr]
    assert source.tensors[0].dtype in ("Q8_0", "F32")
    reads = [request for request in ollama_registry.asked("storage") if digest_of(weights) in request.path]
    assert [request.range for request in reads] == [f"bytes=0-{(1 << 20) - 1}"]
    assert "application/vnd.docker.distribution.manifest.v2+json" in (ollama_registry.asked("manifest")[0].accept or "")
    assert all(request.authorization is None for request in ollama_registry.asked("storage"))
    assert [sentence.partition("left out: ")[2] for sentence in told] == [
        "its vision projector (`projector`)",
        "the parameter `mirostat`, which recipes do not have",
    ]
    assert decode(encode(lock), "ModelSpec.lock") == lock
    assert staleness(recipe, lock, FileIndex(store.home)) == ()
    files = fetched(source, store, recipe.path.parent)
    assert files["model.gguf"] == weights
    assert files["chat_template.jinja"] == TEMPLATE.encode()
    assert json.loads(files["mlxbuild/defaults.json"]) == {
        "system_prompt": "Be brief.",
        "messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "ba"}],
        "parameters": {"context": 64, "stops": ["</s>"], "temperature": 0.5},
    }


def test_a_tag_that_moved_is_followed_by_an_upgrade_alone(
    ollama_registry: LocalOllamaRegistry, layers: list[Layer], store: Store, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    first = ollama_registry.publish("library/tiny:q8", layers)
    recipe = write_recipe(base(ollama_registry))
    lock = make_lock(recipe, store)
    second = ollama_registry.publish("library/tiny:q8", gguf_layers(tmp_path, kinds=["Q4_0"]))
    assert make_lock(recipe, store, lock) == lock
    moved = make_lock(recipe, store, lock, upgrade=True)
    assert (lock.sources[0].pinned, moved.sources[0].pinned) == (first, second)
    (sentence,) = changes(lock, moved)
    assert f"moved from {first[7:19]} to {second[7:19]}" in sentence


def test_documents_are_derived_again_on_another_machine(
    ollama_registry: LocalOllamaRegistry, layers: list[Layer], store: Store, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    ollama_registry.publish("library/tiny:q8", layers)
    recipe = write_recipe(base(ollama_registry))
    lock = make_lock(recipe, store)
    ollama_registry.manifests.clear()  # the pinned layers are all that is needed
    other = Store.open(Home(tmp_path / "other"))
    assert make_lock(recipe, other, lock) == lock
    third = Store.open(Home(tmp_path / "third"))
    assert fetched(lock.sources[0], third, recipe.path.parent) == fetched(lock.sources[0], store, recipe.path.parent)


def test_what_ollama_has_on_this_machine_is_not_downloaded(
    ollama_registry: LocalOllamaRegistry,
    ollama_models: Path,
    layers: list[Layer],
    store: Store,
    write_recipe: WriteRecipe,
) -> None:
    digest = write_local_models(ollama_models, ollama_registry.host, "library/tiny:q8", layers)
    recipe = write_recipe(base(ollama_registry))
    (source,) = make_lock(recipe, store).sources
    assert source.pinned == digest
    assert fetched(source, store, recipe.path.parent)["model.gguf"] == layers[0].content
    assert make_lock(recipe, store, upgrade=True).sources == (source,)  # never pushed, so it is what is there
    assert [request.route for request in ollama_registry.requests] == ["manifest"]


def test_a_damaged_blob_of_ollamas_is_downloaded_instead(
    ollama_registry: LocalOllamaRegistry,
    ollama_models: Path,
    layers: list[Layer],
    store: Store,
    write_recipe: WriteRecipe,
) -> None:
    write_local_models(ollama_models, ollama_registry.host, "library/tiny:q8", layers)
    ollama_registry.publish("library/tiny:q8", layers)
    place = ollama_models / "blobs" / digest_of(layers[0].content).replace(":", "-")
    place.write_bytes(bytes(len(layers[0].content)))
    recipe = write_recipe(base(ollama_registry))
    (source,) = make_lock(recipe, store).sources
    assert fetched(source, store, recipe.path.parent)["model.gguf"] == layers[0].content


def test_a_name_that_is_not_there(
    ollama_registry: LocalOllamaRegistry, store: Store, write_recipe: WriteRecipe
) -> None:
    with pytest.raises(ManifestUnknown) as caught:
        make_lock(write_recipe(base(ollama_registry)), store)
    assert "ollama.com/library" in str(caught.value.hint)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("storage", status=503, times=2),
        Fault("storage", truncate=300_000, times=3),
        Fault("storage", no_range=True),
    ],
    ids=["busy", "truncated", "without ranges"],
)
def test_what_passes_is_waited_for(
    ollama_registry: LocalOllamaRegistry,
    layers: list[Layer],
    store: Store,
    write_recipe: WriteRecipe,
    pauses: list[float],
    fault: Fault,
) -> None:
    ollama_registry.publish("library/tiny:q8", layers)
    ollama_registry.faults.append(fault)
    recipe = write_recipe(base(ollama_registry))
    (source,) = make_lock(recipe, store).sources
    assert fetched(source, store, recipe.path.parent)["model.gguf"] == layers[0].content


def test_other_bytes_than_the_manifest_names_are_refused(
    ollama_registry: LocalOllamaRegistry,
    layers: list[Layer],
    store: Store,
    write_recipe: WriteRecipe,
    pauses: list[float],
) -> None:
    ollama_registry.publish("library/tiny:q8", layers)
    recipe = write_recipe(base(ollama_registry))
    (source,) = make_lock(recipe, store).sources
    weights = layers[0].content
    ollama_registry.faults.append(Fault("storage", digest_of(weights), replace=weights[:-1] + b"\xff"))
    with pytest.raises(TransferCorrupt):
        fetched(source, store, recipe.path.parent)
    assert not store.has(Digest.of_bytes(weights))
    ollama_registry.faults[:] = [Fault("storage", digest_of(layers[3].content), replace=bytes(len(layers[3].content)))]
    with pytest.raises(TransferCorrupt):
        make_lock(recipe, Store.open(Home(store.home.root.parent / "other")))


def test_a_registry_that_stalls_is_given_up(
    ollama_registry: LocalOllamaRegistry,
    layers: list[Layer],
    store: Store,
    write_recipe: WriteRecipe,
    pauses: list[float],
) -> None:
    ollama_registry.publish("library/tiny:q8", layers)
    (store.home.root / "config.yaml").write_text("read_seconds: 0.1\nattempts: 2\n")
    ollama_registry.faults.append(Fault("storage", seconds=0.4))
    with pytest.raises(RegistryUnreachable):
        make_lock(write_recipe(base(ollama_registry)), store)


def test_the_license_and_a_tokenizer_of_elsewhere(
    ollama_registry: LocalOllamaRegistry, layers: list[Layer], store: Store, write_recipe: WriteRecipe, tmp_path: Path
) -> None:
    ollama_registry.publish("library/tiny:q8", [*layers, layer("license", b"And more.")])
    (tmp_path / "recipe" / "words").mkdir(parents=True)
    (tmp_path / "recipe" / "words" / "tokenizer.json").write_text("{}")
    lock = make_lock(write_recipe(base(ollama_registry) + "\ntokenizer: {path: words}"), store)
    paths = [file.path for file in lock.sources[0].files]
    assert {"LICENSE", "LICENSE.1"} <= set(paths)
    assert "tokenizer.json" not in paths


GGUF = layer("model", b"GGUF")


@pytest.mark.parametrize(
    ("layers", "error", "said"),
    [
        ([GGUF, layer("adapter", b"GGUF")], UnsupportedOllamaModel, "has an adapter"),
        ([GGUF, layer("model", b"GGUF2")], UnsupportedOllamaModel, "several files of weights"),
        ([layer("template", b"{{ .Prompt }}")], UnsupportedOllamaModel, "no weights"),
        ([GGUF, layer("voice", b"")], UnsupportedOllamaModel, "a layer of the kind `voice`"),
        ([Layer("application/vnd.cncf.model.weight.v1.raw", b"")], UnsupportedOllamaModel, "is not a model of Ollama"),
        ([GGUF, layer("params", b"[]")], BrokenOllamaManifest, "the layer `params`"),
        ([layer("tensor", b"x", "../../x")], BrokenOllamaManifest, "is not a path"),
        ([layer("tensor", b"x")], BrokenOllamaManifest, "has no name"),
    ],
)
def test_what_is_not_taken_is_told(
    ollama_registry: LocalOllamaRegistry,
    store: Store,
    write_recipe: WriteRecipe,
    tmp_path: Path,
    layers: list[Layer],
    error: type[Exception],
    said: str,
) -> None:
    data = tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    ollama_registry.publish("library/tiny:q8", [layer("model", data) if each is GGUF else each for each in layers])
    with pytest.raises(error, match=said):
        make_lock(write_recipe(base(ollama_registry)), store)


def test_a_manifest_that_is_none(
    ollama_registry: LocalOllamaRegistry, store: Store, write_recipe: WriteRecipe, layers: list[Layer]
) -> None:
    ollama_registry.publish("library/tiny:q8", layers)
    ollama_registry.faults.append(Fault("manifest", replace=b"<html>welcome to the hotel network</html>"))
    with pytest.raises(BrokenOllamaManifest):
        make_lock(write_recipe(base(ollama_registry)), store)
    ollama_registry.faults[:] = [Fault("manifest", status=500)]
    (store.home.root / "config.yaml").write_text("attempts: 1\n")
    with pytest.raises(RegistryFailure):
        make_lock(write_recipe(base(ollama_registry)), store)
