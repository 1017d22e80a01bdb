"""Locks of GGUF files: of weights only the header is read, and what follows from it is derived where it is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import Lock, LockedFile, LockedSource
from mlxbuild.toolchain.core.lock_errors import StaleLock
from mlxbuild.toolchain.lock.file import decode, encode
from mlxbuild.toolchain.lock.judge import staleness
from mlxbuild.toolchain.lock.make import make_lock
from mlxbuild.toolchain.prepare import pin
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.sources.errors import SourceCorrupt, SourceIncomplete, SourceMissing
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf
from mlxbuild.toolchain.spec.resolved import HubSource
from tests.hub_server import LocalHub
from tests.toolchain.lock.tiny_sources import WriteRecipe
from tests.toolchain.sources.gguf.tiny_gguf import TEMPLATE, split_gguf, tiny_gguf

DERIVED = ["chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "recipe").mkdir()
    return tmp_path / "recipe"


def derived(source: LockedSource) -> list[str]:
    return [file.path for file in source.files if file.derived]


def file_of(source: LockedSource, path: str) -> LockedFile:
    file = source.file(path)
    assert file is not None
    return file


def test_a_file_is_locked_with_what_follows_from_it(store: Store, write_recipe: WriteRecipe, folder: Path) -> None:
    path = tiny_gguf(folder / "tiny.gguf", ["Q4_K", "Q6_K"])
    lock = make_lock(write_recipe("base: {gguf: tiny.gguf}"), store)
    (base,) = lock.sources
    assert (base.kind, base.identity, base.gguf, base.pinned) == ("folder", ".", "tiny.gguf", None)
    assert derived(base) == DERIVED
    assert file_of(base, "tiny.gguf").blob == Blob(Digest.of_bytes(path.read_bytes()), path.stat().st_size)
    rows = {tensor.name: tensor for tensor in base.tensors}
    assert rows["model.embed_tokens.weight"].dtype == "Q4_K"
    query = rows["model.layers.1.self_attn.q_proj.weight"]
    assert (query.shape, query.permuted_heads, query.file) == ((256, 256), 4, "tiny.gguf")
    assert rows["model.layers.1.self_attn.k_proj.weight"].permuted_heads == 2
    assert store.read(file_of(base, "chat_template.jinja").blob.digest) == TEMPLATE.encode()
    assert json.loads(store.read(file_of(base, "config.json").blob.digest))["model_type"] == "llama"
    assert decode(encode(lock), "ModelSpec.lock") == lock


def test_the_lock_of_a_file_is_judged_by_its_content(store: Store, write_recipe: WriteRecipe, folder: Path) -> None:
    tiny_gguf(folder / "tiny.gguf")
    recipe = write_recipe("base: {gguf: tiny.gguf}")
    lock = make_lock(recipe, store)
    index = FileIndex(store.home)
    assert staleness(recipe, lock, index) == ()
    tiny_gguf(folder / "tiny.gguf", ["Q4_0"])
    assert [str(reason) for reason in staleness(recipe, lock, index)] == ["`tiny.gguf` in `.` changed"]
    tiny_gguf(folder / "other.gguf")
    other = write_recipe("base: {gguf: other.gguf}")
    assert [reason.kind for reason in staleness(other, lock, index)] == ["renamed"]


def test_a_file_of_the_hub_is_locked_without_moving_its_weights(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, folder: Path
) -> None:
    path = tiny_gguf(folder / "tiny.gguf")
    data = path.read_bytes() + bytes(3 << 20)  # the first range is a MiB
    commit = local_hub.publish("acme/tiny-GGUF", {"q8/tiny.gguf": data, "README.md": b"# tiny"})
    recipe = write_recipe("base: {hf_repo: acme/tiny-GGUF, file: q8/tiny.gguf}")
    (base,) = make_lock(recipe, store).sources
    assert (base.kind, base.identity, base.gguf, base.pinned) == ("hub", "acme/tiny-GGUF", "q8/tiny.gguf", commit)
    assert file_of(base, "q8/tiny.gguf").blob == Blob(Digest.of_bytes(data), len(data))
    assert derived(base) == DERIVED
    reads = [request for request in local_hub.requests if request.route == "blob" and request.method == "GET"]
    assert [request.range for request in reads] == [f"bytes=0-{(1 << 20) - 1}"]
    (local,) = make_lock(write_recipe("base: {gguf: tiny.gguf}"), store).sources
    assert [(row.name, row.begin, row.permuted_heads) for row in local.tensors] == [
        (row.name, row.begin, row.permuted_heads) for row in base.tensors
    ]
    before = len(local_hub.requests)
    lock = Lock(Digest.of_bytes(b""), (base,))
    assert make_lock(recipe, store, lock).sources == (base,)
    assert len(local_hub.requests) == before


def test_documents_are_derived_again_on_another_machine(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, folder: Path, tmp_path: Path
) -> None:
    path = tiny_gguf(folder / "tiny.gguf")
    local_hub.publish("acme/tiny-GGUF", {"tiny.gguf": path.read_bytes()})
    for sources in ("base: {gguf: tiny.gguf}", "base: {hf_repo: acme/tiny-GGUF, file: tiny.gguf}"):
        recipe = write_recipe(sources)
        (base,) = make_lock(recipe, store).sources
        elsewhere = Store.open(Home(tmp_path / f"home-{base.kind}"))
        catalogue = SourceCatalogue(folder, elsewhere)
        for name in DERIVED:
            file = file_of(base, name)
            assert not catalogue.present(base, file) or name != DERIVED[0]
            assert Digest.of_bytes(catalogue.fetch(base, file).read_bytes()) == file.blob.digest
            assert catalogue.locate(base, file) == elsewhere.path(file.blob.digest)
        assert pin(recipe.variants()[0], (base,), catalogue).tokenizer is base


def test_documents_of_another_version_are_told_apart_from_another_file(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, folder: Path, tmp_path: Path
) -> None:
    path = tiny_gguf(folder / "tiny.gguf")
    (base,) = make_lock(write_recipe("base: {gguf: tiny.gguf}"), store).sources
    elsewhere = SourceCatalogue(folder, Store.open(Home(tmp_path / "elsewhere")))
    foreign = LockedFile("config.json", Blob(Digest.of_bytes(b"{}"), 2), derived=True)
    with pytest.raises(StaleLock, match="was derived differently by the mlxbuild that locked it"):
        elsewhere.fetch(base, foreign)
    data = path.read_bytes()
    tiny_gguf(path, general__name="Other")
    again = SourceCatalogue(folder, Store.open(Home(tmp_path / "again")))
    with pytest.raises(StaleLock, match=r"the header of `tiny\.gguf` is not the one that was locked"):
        again.fetch(base, file_of(base, "config.json"))
    local_hub.publish("acme/tiny-GGUF", {"tiny.gguf": data})
    recipe = write_recipe("base: {hf_repo: acme/tiny-GGUF, file: tiny.gguf}")
    (pinned,) = make_lock(recipe, store).sources
    local_hub.publish("acme/tiny-GGUF", {"tiny.gguf": path.read_bytes()})
    (other,) = make_lock(recipe, store, upgrade=True).sources
    mixed = LockedSource(**{**{name: getattr(pinned, name) for name in LockedSource.__slots__}, "pinned": other.pinned})
    with pytest.raises(SourceCorrupt, match="is not the one that was locked"):
        again.fetch(mixed, file_of(mixed, "config.json"))


def test_all_parts_of_a_split_model_are_taken_along(store: Store, write_recipe: WriteRecipe, folder: Path) -> None:
    paths = split_gguf(folder, "tiny", 3)
    recipe = write_recipe(f"base: {{gguf: {paths[0].name}}}")
    (base,) = make_lock(recipe, store).sources
    assert [file.path for file in base.files if not file.derived] == [path.name for path in paths]
    assert {tensor.file for tensor in base.tensors} == {path.name for path in paths}
    whole = tiny_gguf(folder / "tiny.gguf")
    (one,) = make_lock(write_recipe(f"base: {{gguf: {whole.name}}}"), store).sources
    assert sorted(tensor.name for tensor in base.tensors) == sorted(tensor.name for tensor in one.tensors)
    catalogue = SourceCatalogue(folder, Store.open(Home(folder / "elsewhere")))
    assert catalogue.fetch(base, file_of(base, "config.json")).is_file()
    paths[1].rename(folder / "aside")
    assert [
        str(reason) for reason in staleness(recipe, Lock(Digest.of_bytes(b""), (base,)), FileIndex(store.home))
    ] == [f"`{paths[1].name}` in `.` is gone"]
    with pytest.raises(SourceMissing, match=r"tiny-00002-of-00003\.gguf` is not there"):
        make_lock(recipe, store)
    with pytest.raises(UnsupportedGguf, match="is part 3 of 3"):
        make_lock(write_recipe(f"base: {{gguf: {paths[2].name}}}"), store)


def test_an_unknown_tokenizer_does_where_the_recipe_names_another(
    store: Store, write_recipe: WriteRecipe, folder: Path
) -> None:
    tiny_gguf(folder / "tiny.gguf", tokenizer__ggml__pre="of-our-own")
    inherited = write_recipe("base: {gguf: tiny.gguf}")
    with pytest.raises(UnsupportedGguf, match="of-our-own"):
        make_lock(inherited, store)
    (folder / "texts").mkdir()
    (folder / "texts" / "tokenizer.json").write_text("{}")
    named = write_recipe("base: {gguf: tiny.gguf}\ntokenizer: {path: ./texts}")
    lock = make_lock(named, store)
    base = lock.source("base")
    assert base is not None
    assert "tokenizer.json" not in derived(base)
    index = FileIndex(store.home)
    assert staleness(named, lock, index) == ()
    reasons = [str(reason) for reason in staleness(inherited, lock, index)]
    assert reasons[0] == "the lock lacks the tokenizer that follows from `base`"


def test_a_repository_of_gguf_files_says_which_it_has(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, folder: Path
) -> None:
    data = tiny_gguf(folder / "tiny.gguf").read_bytes()
    local_hub.publish("acme/tiny-GGUF", {"tiny-Q8_0.gguf": data, "README.md": b"# tiny"})
    with pytest.raises(SourceMissing) as caught:
        make_lock(write_recipe("base: {hf_repo: acme/tiny-GGUF, file: other-q6_k.gguf}"), store)
    assert "tiny-Q8_0.gguf" in str(caught.value.hint)
    with pytest.raises(SourceIncomplete) as incomplete:
        make_lock(write_recipe("base: {hf_repo: acme/tiny-GGUF}"), store)
    assert "tiny-Q8_0.gguf" in str(incomplete.value.hint)
    assert isinstance(write_recipe("base: {hf_repo: a/b, file: c.gguf}").variants()[0].base, HubSource)
