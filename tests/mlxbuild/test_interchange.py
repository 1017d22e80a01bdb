"""Artifacts to and from other tools by the command line: folders, archives, layouts, and recipes of other forms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from tests.mlxbuild.conftest import CommandLine
from tests.registries import docker_registry


@pytest.fixture
def elsewhere(mlxbuild: CommandLine, tmp_path: Path) -> CommandLine:
    """The program with another, empty home."""
    return CommandLine(mlxbuild.folder, Home(tmp_path / "elsewhere"))


def test_what_is_exported_is_opened_by_mlx_lm_and_transformers(mlxbuild: CommandLine, tmp_path: Path) -> None:
    digest = mlxbuild.built("int4")
    folder = tmp_path / "out" / "model"
    done = mlxbuild("export", "tiny:int4", str(folder))
    note = "note: only mlxbuild applies the system prompt, from `mlxbuild/defaults.json`; tell other tools yourself\n"
    assert (done.code, done.err) == (0, note)
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    answer = subprocess.run(
        [Path(sys.executable).with_name("mlx_lm.generate"), "--model", folder, "--prompt", "Hi", "--max-tokens", "4"],
        env=offline,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert answer.returncode == 0, answer.stderr
    assert "Generation: 4 tokens" in answer.stdout
    script = (
        "import sys; from transformers import AutoTokenizer; t = AutoTokenizer.from_pretrained(sys.argv[1]);"
        "print(t.apply_chat_template([{'role': 'user', 'content': 'Hi'}], tokenize=False, add_generation_prompt=True))"
    )
    rendered = subprocess.run(
        [sys.executable, "-c", script, folder], env=offline, capture_output=True, text=True, timeout=240
    )
    assert rendered.returncode == 0, rendered.stderr
    assert rendered.stdout.strip() == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant"
    assert mlxbuild("verify", digest).code == 0, "links do not let others change the store"


def test_export_links_weights_and_copies_what_people_edit(mlxbuild: CommandLine, tmp_path: Path) -> None:
    mlxbuild.built()
    folder, copied = tmp_path / "model", tmp_path / "copied"
    assert mlxbuild("export", "tiny:int4", str(folder)).code == 0
    assert mlxbuild("export", "tiny:int4", str(copied), "--copy").code == 0
    links = {path.name: path.stat().st_nlink for path in folder.iterdir() if path.is_file()}
    assert {count for name, count in links.items() if name.endswith(".safetensors")} == {2}
    assert {count for name, count in links.items() if not name.endswith(".safetensors")} == {1}
    assert {path.stat().st_nlink for path in copied.iterdir() if path.is_file()} == {1}
    assert os.access(folder / "config.json", os.W_OK)
    for path in folder.rglob("*"):
        if path.is_file():
            assert (copied / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_export_does_not_mix_models(mlxbuild: CommandLine, tmp_path: Path) -> None:
    mlxbuild.built()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model-00009-of-00009.safetensors").write_text("another's")
    (folder / "config.json").write_text("another's")
    (folder / "notes.txt").write_text("mine")
    refused = mlxbuild("export", "tiny:int4", str(folder))
    assert refused.code == 2
    assert "folder-not-empty" in refused.err
    assert "--force" in refused.err
    assert sorted(path.name for path in folder.iterdir())[1:] == ["model-00009-of-00009.safetensors", "notes.txt"]
    assert mlxbuild("export", "tiny:int4", str(folder), "--force").code == 0
    assert not (folder / "model-00009-of-00009.safetensors").exists()
    assert (folder / "notes.txt").read_text() == "mine"
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"


@pytest.mark.parametrize("name", ["config.json", "model-00001-of-00005.safetensors"])
def test_a_damaged_artifact_is_not_exported(mlxbuild: CommandLine, tmp_path: Path, name: str) -> None:
    digest = mlxbuild.built()
    files = json.loads(mlxbuild("show", digest, "--json").out)["files"]
    (blob,) = (file["digest"].removeprefix("sha256:") for file in files if file["path"] == name)
    path = mlxbuild.home.store / "blobs" / "sha256" / blob
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    refused = mlxbuild("export", digest, str(tmp_path / "model"))
    assert (refused.code, "blob-corrupt" in refused.err) == (10, True)
    assert not list(tmp_path.glob("*model*")), "nothing is left behind"


def test_an_archive_goes_to_a_machine_without_network(mlxbuild: CommandLine, elsewhere: CommandLine) -> None:
    digest = mlxbuild.built()
    packed = mlxbuild("pack", "tiny:int4-1.0", "-o", "model.tar")
    assert packed.code == 0, packed.err
    assert digest in packed.out
    archive = mlxbuild.folder / "model.tar"
    taken = elsewhere("import", "model.tar")
    assert taken.code == 0, taken.err
    assert taken.out.split()[:2] == ["tiny:int4-1.0", digest]
    assert taken.err == ""
    assert elsewhere("verify", "tiny:int4-1.0").code == 0
    assert elsewhere("run", "tiny:int4-1.0", "Hi", "--max-tokens", "2").code == 0
    again = elsewhere("pack", "tiny:int4-1.0", "-o", "again.tar")
    assert again.code == 0, again.err
    assert (mlxbuild.folder / "again.tar").read_bytes() == archive.read_bytes()


def test_an_archive_goes_through_a_pipe(mlxbuild: CommandLine, elsewhere: CommandLine) -> None:
    digest = mlxbuild.built()
    program = Path(sys.executable).with_name("mlxbuild")
    sent = subprocess.Popen(
        [program, "pack", digest, "-o", "-"], env=mlxbuild.environment(), stdout=subprocess.PIPE, cwd=mlxbuild.folder
    )
    taken = subprocess.run(
        [program, "import", "-", "--name", "sent:once"],
        env=elsewhere.environment(),
        stdin=sent.stdout,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert sent.stdout is not None
    sent.stdout.close()
    assert (sent.wait(), taken.returncode) == (0, 0), taken.stderr
    assert taken.stdout.split()[:2] == ["sent:once", digest]


def test_a_damaged_archive_leaves_nothing(mlxbuild: CommandLine, elsewhere: CommandLine) -> None:
    digest = mlxbuild.built()
    mlxbuild("pack", digest, "-o", "model.tar")
    archive = mlxbuild.folder / "model.tar"
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    refused = elsewhere("import", "model.tar")
    assert refused.code == 10, refused.err
    assert elsewhere("list").out.count("\n") <= 1
    assert not list(elsewhere.store.blobs())


def test_layouts_are_imported_and_a_store_is_one(mlxbuild: CommandLine, elsewhere: CommandLine) -> None:
    digest = mlxbuild.built()
    taken = elsewhere("import", str(mlxbuild.home.store))
    assert taken.code == 0, taken.err
    assert f"tiny:int4-1.0 {digest}" in taken.out
    assert sorted(dict(elsewhere.store.tags.items())) == sorted(dict(mlxbuild.store.tags.items()))


def test_an_artifact_of_others_says_what_it_can_be_used_for(mlxbuild: CommandLine, elsewhere: CommandLine) -> None:
    digest = mlxbuild.built("none")
    store = mlxbuild.store
    manifest = json.loads(mlxbuild("show", digest, "--manifest").out)
    config = json.loads(store.path(Digest.parse(manifest["config"]["digest"])).read_bytes())
    layers = [it for it in manifest["layers"] if not it["annotations"][media_types.FILE_PATH].startswith("mlxbuild/")]
    config["modelfs"]["diffIds"] = [layer["digest"] for layer in layers]
    blob = store.put(canonical_json.encode(config))
    manifest |= {"layers": layers, "annotations": {}}
    manifest["config"] |= {"digest": str(blob.digest), "size": blob.size_bytes}
    theirs = store.put(canonical_json.encode(manifest))
    assert mlxbuild("pack", str(theirs.digest), "-o", "theirs.tar").code == 0
    taken = elsewhere("import", "theirs.tar", "--name", "theirs:1")
    assert taken.code == 0, taken.err
    assert 'base: {from: "theirs:1"}' in taken.err
    asked = ("Hi", "--max-tokens", "4", "--temperature", "0")
    answer = elsewhere("run", "theirs:1", *asked)
    assert answer.code == 0, answer.err
    assert elsewhere("show", "theirs:1", "--files").out.count("mlxbuild/") == 0, "it stays as it is"
    assert answer.out == elsewhere("run", str(theirs.digest), *asked).out
    (elsewhere.folder / "ModelSpec.yaml").write_text('name: ours\nversion: "1"\nbase: {from: "theirs:1"}\n')
    built = elsewhere("create")
    assert built.code == 0, built.err
    assert elsewhere("run", "ours", *asked).out == answer.out


def packed_by_others(store: Store, files: Mapping[str, bytes]) -> str:
    """A ModelPack artifact as `modctl build --raw` or Docker Model Runner makes it of a model folder."""
    layers = []
    for path, content in files.items():
        blob = store.put(content)
        kind = media_types.WEIGHT if path.endswith((".safetensors", ".gguf")) else media_types.WEIGHT_CONFIG
        annotations = {media_types.TITLE if path.startswith("./") else media_types.FILE_PATH: path}
        layers.append(
            {"mediaType": kind, "digest": str(blob.digest), "size": blob.size_bytes, "annotations": annotations}
        )
    config = store.put(
        canonical_json.encode(
            {
                "descriptor": {"name": "theirs", "createdAt": "2026-01-01T00:00:00Z"},
                "config": {"format": "safetensors"},
                "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
            }
        )
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": media_types.MODEL_MANIFEST,
        "config": {"mediaType": media_types.MODEL_CONFIG, "digest": str(config.digest), "size": config.size_bytes},
        "layers": layers,
    }
    return str(store.put(canonical_json.encode(manifest)).digest)


def test_a_checkpoint_that_others_packed_runs(mlxbuild: CommandLine, elsewhere: CommandLine) -> None:
    """Its files as the publisher wrote them, the template inside tokenizer_config.json."""
    model = mlxbuild.folder / "model"
    files = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    settings = json.loads(files["tokenizer_config.json"])
    template = files.pop("chat_template.jinja").decode()
    files["tokenizer_config.json"] = json.dumps({**settings, "chat_template": template}).encode()
    files["./config.json"] = files.pop("config.json")
    digest = packed_by_others(mlxbuild.store, files)
    assert mlxbuild("pack", digest, "-o", "theirs.tar").code == 0
    taken = elsewhere("import", "theirs.tar")
    assert (taken.code, taken.out.split()[0]) == (0, "theirs:latest"), taken.err
    asked = ("Hi", "--max-tokens", "4", "--temperature", "0", "--verbose")
    answer = elsewhere("run", "theirs", *asked)
    assert answer.code == 0, answer.err
    assert mlxbuild.built("none")
    (mlxbuild.folder / "ModelSpec.yaml").write_text('name: ours\nversion: "1"\nbase: {path: model}\n')
    assert mlxbuild("create").code == 0
    assert answer.out == mlxbuild("run", "ours", *asked).out, "the same prompt, the same weights, the same stops"


def test_an_artifact_of_others_is_pulled_compared_and_run(
    mlxbuild: CommandLine, elsewhere: CommandLine, tmp_path: Path
) -> None:
    model = mlxbuild.folder / "model"
    digest = packed_by_others(mlxbuild.store, {it.name: it.read_bytes() for it in model.iterdir() if it.is_file()})
    with docker_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/acme/theirs:1"
        pushed = mlxbuild("push", digest, name)
        assert pushed.code == 0, pushed.err
        same = elsewhere("diff", name, name, "--json")
        assert (same.code, json.loads(same.out)["equal"]) == (0, True), same.err
        assert not list(elsewhere.store.blobs())
        pulled = elsewhere("pull", name)
        assert pulled.code == 0, pulled.err
    answer = elsewhere("run", name, "Hi", "--max-tokens", "4")
    assert answer.code == 0, answer.err


def test_an_artifact_of_others_is_verified_as_far_as_it_goes(mlxbuild: CommandLine) -> None:
    """Bytes and signatures are judged; that there is no recipe is said."""
    digest = packed_by_others(mlxbuild.store, {"config.json": b"{}", "model.safetensors": b"weights"})
    checked = mlxbuild("verify", digest)
    assert (checked.code, "there is no recipe and no lock to check" in checked.out) == (0, True), checked.err
    for name in ("acme", "stranger"):
        assert mlxbuild("keygen", name).code == 0
    unsigned = mlxbuild("verify", digest, "--key", "acme")
    assert (unsigned.code, "the artifact is not signed" in unsigned.err) == (10, True)
    assert mlxbuild("sign", digest, "--key", "acme").code == 0
    signed = json.loads(mlxbuild("verify", digest, "--key", "acme", "--json").out)
    assert (signed["ok"], signed["built"], list(signed["proven"])) == (True, False, ["signature"])
    assert mlxbuild("verify", digest, "--key", "stranger").code == 10
    assert mlxbuild("verify", digest, "--rebuild").code == 2
    (weights,) = (file["digest"] for file in json.loads(mlxbuild("show", digest, "--json").out)["files"][:1])
    path = mlxbuild.store.path(Digest.parse(weights))
    path.chmod(0o644)
    path.write_bytes(b"Weights")
    assert mlxbuild("verify", digest, "--key", "acme").code == 10


@pytest.mark.parametrize("files", [{"model.gguf": b"GGUF", "config.json": b"{}"}, {"model.safetensors": b""}])
def test_what_cannot_be_run_says_so(mlxbuild: CommandLine, files: dict[str, bytes]) -> None:
    refused = mlxbuild("run", packed_by_others(mlxbuild.store, files), "Hi")
    assert (refused.code, "error[not-runnable]" in refused.err) == (2, True), refused.err


def test_a_modelfile_becomes_a_recipe_that_builds(mlxbuild: CommandLine) -> None:
    (mlxbuild.folder / "Modelfile").write_text(
        'FROM ./model\nPARAMETER temperature 0.5\nPARAMETER mirostat 1\nSYSTEM "Be kind."\n'
    )
    done = mlxbuild("import", "Modelfile")
    assert done.code == 0, done.err
    assert "mirostat" in done.err
    assert "mlxbuild create" in done.err
    (mlxbuild.folder / "ModelSpec.yaml").write_text(done.out)
    assert mlxbuild("lint").code == 0
    built = mlxbuild("create")
    assert built.code == 0, built.err
    (name,) = (line.split()[0] for line in built.out.splitlines())
    shown = json.loads(mlxbuild("show", name, "--json").out)
    assert shown["defaults"]["system_prompt"] == "Be kind."
    assert shown["defaults"]["parameters"] == {"temperature": 0.5}


def test_folders_and_kitfiles_become_recipes(mlxbuild: CommandLine) -> None:
    (mlxbuild.folder / "Kitfile").write_text(
        "manifestVersion: 1.0.0\npackage: {name: kit}\nmodel: {path: ./model}\ncode: [{path: src}]\n"
    )
    for path, said in (("model", "mlxbuild create"), ("Kitfile", "src")):
        done = mlxbuild("import", path)
        assert (done.code, said in done.err) == (0, True), done.err
        (mlxbuild.folder / "ModelSpec.yaml").write_text(done.out)
        assert mlxbuild("lint").code == 0, path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("import", "missing"), "not-importable"),
        (("import", "model", "--name", "x"), "name-without-artifact"),
        (("import", "ModelSpec.yaml"), "not-importable"),
        (("export", "missing", "x"), "unknown-reference"),
        (("pack", "missing", "-o", "x"), "unknown-reference"),
    ],
)
def test_mistakes_are_told(mlxbuild: CommandLine, words: tuple[str, ...], code: str) -> None:
    refused = mlxbuild(*words)
    assert refused.code == 2
    assert f"error[{code}]" in refused.err
    assert "hint:" in refused.err
