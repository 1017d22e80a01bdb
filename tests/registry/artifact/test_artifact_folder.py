"""Model folders: whole, relative, mended, opened by the tools they are for."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.registry.artifact import modelpack
from mlxbuild.registry.artifact.files import ArtifactFile, FileRole
from mlxbuild.registry.artifact.folder import model_folder
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.errors import BlobCorrupt, BlobMissing
from mlxbuild.registry.store.layout import Store

Build = Callable[..., Blob]
CrashBefore = Callable[[int, Path, Callable[[], object]], bool]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expected(store: Store, manifest: Blob) -> dict[str, bytes]:
    return {file.path: store.read(file.blob.digest) for file in Artifact.open(store, manifest.digest).files}


def test_links_to_every_file_and_copies_none(store: Store, build_artifact: Build) -> None:
    manifest = build_artifact()
    folder = model_folder(store, manifest.digest)
    assert folder == store.home.models / manifest.digest.hex
    assert contents(folder) == expected(store, manifest)
    for path in contents(folder):
        assert (folder / path).is_symlink()
        assert not (folder / path).readlink().is_absolute()


def test_a_moved_home_still_works(store: Store, build_artifact: Build, tmp_path: Path) -> None:
    manifest = build_artifact()
    wanted = expected(store, manifest)
    folder = model_folder(store, manifest.digest)
    store.home.root.rename(tmp_path / "moved")
    assert contents(tmp_path / "moved" / folder.relative_to(store.home.root)) == wanted


def test_asking_again_changes_nothing(store: Store, build_artifact: Build) -> None:
    manifest = build_artifact()
    before = {path: path.lstat().st_ino for path in model_folder(store, manifest.digest).rglob("*")}
    assert {path: path.lstat().st_ino for path in model_folder(store, manifest.digest).rglob("*")} == before


def break_folder(folder: Path, way: str) -> None:
    link = folder / "config.json"
    match way:
        case "removed":
            link.unlink()
        case "elsewhere":
            link.unlink()
            link.symlink_to("/nowhere")
        case "copied":
            data = link.read_bytes()
            link.unlink()
            link.write_bytes(data)
        case "a folder":
            link.unlink()
            link.mkdir()
            (link / "x").write_bytes(b"")
        case "extra file":
            (folder / "model-extra.safetensors").write_bytes(b"")
        case "extra link":
            (folder / "mlxbuild" / "extra").symlink_to(folder)
        case "emptied":
            shutil.rmtree(folder)
            folder.mkdir()
        case "a file":
            shutil.rmtree(folder)
            folder.write_bytes(b"")
        case "a link":
            folder.rename(folder.with_name("other"))
            folder.symlink_to("other")


@pytest.mark.parametrize(
    "way",
    ["removed", "elsewhere", "copied", "a folder", "extra file", "extra link", "emptied", "a file", "a link"],
)
def test_a_broken_folder_is_mended(store: Store, build_artifact: Build, way: str) -> None:
    manifest = build_artifact()
    folder = model_folder(store, manifest.digest)
    break_folder(folder, way)
    assert model_folder(store, manifest.digest) == folder
    assert contents(folder) == expected(store, manifest)
    assert not folder.is_symlink()
    assert all(path.is_symlink() or path.is_dir() for path in folder.rglob("*"))
    assert list((store.home.cache / "tmp").iterdir()) == []


def test_bad_blobs_are_named(store: Store, build_artifact: Build) -> None:
    manifest = build_artifact()
    digest = Artifact.open(store, manifest.digest).files[0].blob.digest
    store.path(digest).chmod(0o644)
    store.path(digest).write_bytes(b"short")
    with pytest.raises(BlobCorrupt) as corrupt:
        model_folder(store, manifest.digest)
    assert corrupt.value.digest == digest
    store.quarantine(digest)
    with pytest.raises(BlobMissing) as missing:
        model_folder(store, manifest.digest)
    assert missing.value.digest == digest
    assert not store.home.models.exists()


def test_a_crash_at_any_step_leaves_it_whole_absent_or_mendable(
    store: Store, build_artifact: Build, crash_before: CrashBefore
) -> None:
    manifest = build_artifact()
    folder = store.home.models / manifest.digest.hex
    for way in ("absent", "emptied"):
        step, crashed = 0, True
        while crashed:
            shutil.rmtree(folder, ignore_errors=True)
            if way == "emptied":
                folder.mkdir(parents=True)
            crashed = crash_before(step, store.home.root, lambda: model_folder(store, manifest.digest))
            if way == "absent":
                assert not folder.exists() or contents(folder) == expected(store, manifest)
            model_folder(store, manifest.digest)
            assert contents(folder) == expected(store, manifest)
            step += 1
        assert step > 10


def test_many_make_one_folder_at_once(store: Store, build_artifact: Build) -> None:
    manifest = build_artifact()
    folders: list[Path] = []
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait()
        folders.append(model_folder(Store.open(Home(store.home.root)), manifest.digest))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [store.home.models / manifest.digest.hex] * 8
    assert contents(folders[0]) == expected(store, manifest)
    assert list((store.home.cache / "tmp").iterdir()) == []


def test_mlx_lm_and_transformers_open_it(
    store: Store, description: modelpack.ArtifactDescription, tmp_path: Path
) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama
    from mlx_lm.utils import load
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig

    config = {
        "model_type": "llama",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "rms_norm_eps": 1e-5,
        "vocab_size": 16,
    }
    model = llama.Model(llama.ModelArgs.from_dict(config))
    weights = dict(tree_flatten(model.parameters()))
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "hello": 1}, unk_token="<unk>"))
    parts = [
        {name: value for name, value in weights.items() if ("layers.1." in name) is half} for half in (False, True)
    ]
    for number, part in enumerate(parts, 1):
        mx.save_safetensors(str(tmp_path / f"model-0000{number}-of-00002.safetensors"), part, {"format": "mlx"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    files = [
        ArtifactFile(
            path.name,
            FileRole.WEIGHT if path.suffix == ".safetensors" else FileRole.CONFIG,
            store.put(path.read_bytes()),
        )
        for path in tmp_path.iterdir()
        if path.is_file()
    ]
    folder = model_folder(store, modelpack.build(store, description, files).digest)

    loaded, loaded_tokenizer = load(str(folder))[:2]
    tokens = mx.array([loaded_tokenizer.encode("hello")])
    assert tokens.tolist() == [[1]]
    assert mx.array_equal(loaded(tokens), model(tokens))
    assert AutoConfig.from_pretrained(folder).vocab_size == 16
