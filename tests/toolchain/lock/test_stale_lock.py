"""When a lock is stale, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import Lock
from mlxbuild.toolchain.core.lock_errors import StaleLock
from mlxbuild.toolchain.lock.file import lock_path, readable, write
from mlxbuild.toolchain.lock.judge import require_current, staleness
from mlxbuild.toolchain.lock.make import make_lock
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.spec.recipe import Recipe
from tests.hub_server import LocalHub
from tests.toolchain.lock.tiny_sources import WriteRecipe

_FOLDER = "base: {path: ./model}"


def _reasons(recipe: Recipe, lock: Lock, store: Store) -> list[str]:
    return [str(reason) for reason in staleness(recipe, lock, FileIndex(store.home))]


@pytest.mark.usefixtures("model_folder")
def test_a_fresh_lock_is_current(store: Store, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe(_FOLDER)
    assert _reasons(recipe, make_lock(recipe, store), store) == []


def test_changes_of_a_folder_are_told(store: Store, write_recipe: WriteRecipe, model_folder: Path) -> None:
    recipe = write_recipe(_FOLDER)
    lock = make_lock(recipe, store)
    (model_folder / "config.json").write_bytes(b'{"model_type": "gemma"}')
    (model_folder / "README.md").write_bytes(b"nobody reads it")
    assert _reasons(recipe, lock, store) == ["`config.json` in `./model` changed"]
    (model_folder / "merges.txt").write_bytes(b"")
    (model_folder / "tokenizer.json").unlink()
    assert _reasons(recipe, lock, store) == [
        "`merges.txt` in `./model` is new",
        "`tokenizer.json` in `./model` is gone",
        "`config.json` in `./model` changed",
    ]
    model_folder.rename(model_folder.with_name("elsewhere"))
    assert _reasons(recipe, lock, store) == ["`./model`: the folder cannot be listed: No such file or directory"]


def test_a_touched_folder_is_not_stale(store: Store, write_recipe: WriteRecipe, model_folder: Path) -> None:
    recipe = write_recipe(_FOLDER)
    lock = make_lock(recipe, store)
    for path in model_folder.iterdir():
        path.touch()
    assert _reasons(recipe, lock, store) == []


@pytest.mark.usefixtures("model_folder")
def test_changes_of_the_recipe_are_told(
    local_hub: LocalHub, store: Store, write_recipe: WriteRecipe, tiny_model: dict[str, bytes]
) -> None:
    local_hub.publish("acme/tiny", tiny_model)
    hub = "base: {hf_repo: acme/tiny}"
    lock = make_lock(write_recipe(hub), store)
    asked = len(local_hub.requests)
    for sources, reason in {
        "base: {hf_repo: acme/tiny, revision: main}": None,
        "base: {hf_repo: acme/tiny, revision: v2}": ("`base` asks for the revision `v2`, and the lock pins `main`"),
        "base: {hf_repo: acme/other}": "`base` is `acme/other@main` in the recipe, and `acme/tiny@main` in the lock",
        _FOLDER: "`base` is `./model` in the recipe, and `acme/tiny@main` in the lock",
        'base: {hf_repo: acme/tiny, include: ["*.json"]}': (
            "`base` includes other files of `acme/tiny@main` than the lock"
        ),
        f"{hub}\ntokenizer: {{hf_repo: acme/words}}": "the lock has no source `tokenizer`",
    }.items():
        expected = [] if reason is None else [reason]
        assert _reasons(write_recipe(sources), lock, store) == expected
    both = make_lock(write_recipe(f"{hub}\ntokenizer: {{path: ./model}}"), store, lock)
    assert _reasons(write_recipe(hub), both, store) == [
        "the lock has a source `tokenizer` that the recipe does not name"
    ]
    local_hub.publish("acme/tiny", {**tiny_model, "config.json": b"{}"})
    assert _reasons(write_recipe(hub), lock, store) == []
    assert len(local_hub.requests) == asked


@pytest.mark.usefixtures("model_folder")
def test_a_lock_of_another_recipe_is_told(store: Store, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe(_FOLDER)
    lock = make_lock(recipe, store)
    other = Lock(lock.sources[0].files[0].blob.digest, lock.sources)
    assert _reasons(recipe, other, store) == ["the lock was made for another recipe"]


@pytest.mark.usefixtures("model_folder")
def test_all_reasons_are_told_at_once(store: Store, write_recipe: WriteRecipe, model_folder: Path) -> None:
    recipe = write_recipe(_FOLDER)
    lock = make_lock(recipe, store)
    require_current(staleness(recipe, lock, FileIndex(store.home)), "ModelSpec.lock")
    (model_folder / "config.json").write_bytes(b"{}")
    recipe = write_recipe(f"{_FOLDER}\ntokenizer: {{hf_repo: acme/words}}")
    with pytest.raises(StaleLock) as caught:
        require_current(staleness(recipe, lock, FileIndex(store.home)), "ModelSpec.lock")
    assert "`config.json` in `./model` changed; the lock has no source `tokenizer`" in caught.value.message
    assert (caught.value.exit_code, caught.value.where) == (7, "ModelSpec.lock")
    assert "mlxbuild lock" in str(caught.value.hint)


@pytest.mark.usefixtures("model_folder")
def test_nothing_is_kept_of_a_damaged_lock(store: Store, write_recipe: WriteRecipe) -> None:
    recipe = write_recipe(_FOLDER)
    path = lock_path(recipe.path)
    assert readable(path) is None
    lock = make_lock(recipe, store)
    write(path, lock)
    assert readable(path) == lock
    path.write_text("<<<<<<< HEAD\n" + path.read_text())
    assert readable(path) is None
    write(path, make_lock(recipe, store, readable(path)))
    assert readable(path) == lock


def test_two_recipes_in_one_folder_have_two_locks(tmp_path: Path) -> None:
    assert lock_path(tmp_path / "ModelSpec.yaml").name == "ModelSpec.lock"
    assert lock_path(tmp_path / "big.yaml") != lock_path(tmp_path / "small.yaml")
    write(lock_path(tmp_path / "big.yaml"), Lock(Digest("sha256", "0" * 64), ()))
    assert (tmp_path / "big.lock").exists()
