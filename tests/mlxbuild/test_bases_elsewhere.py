"""A base on another disk: written by `init`, built in place, told by `lint`, and refused where it must not be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.server.application import BuildOrder
from mlxbuild.serving.builder import ProcessBuilder
from mlxbuild.toolchain.against_source import compare_with_source
from mlxbuild.toolchain.difference.artifacts import difference
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.interchange.importing import import_artifacts
from mlxbuild.toolchain.rebuild import RECIPE_FILE, rebuild
from mlxbuild.toolchain.sources.errors import SourceMissing
from tests.mlxbuild.conftest import CommandLine, create_here
from tests.toolchain.sources.gguf.tiny_gguf import tiny_gguf


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Path:
    """A checkpoint in a folder of its own."""
    return Path(shutil.copytree(tiny_model, tmp_path / "data" / "run-42"))


@pytest.fixture
def desk(tmp_path: Path, home: Home) -> CommandLine:
    """The program in an empty folder."""
    (tmp_path / "desk").mkdir()
    return CommandLine(tmp_path / "desk", home)


def test_a_checkpoint_elsewhere_is_built_where_it_lies(desk: CommandLine, run: Path) -> None:
    written = desk("init", str(run))
    assert f"  path: {run}  # elsewhere" in written.out
    (desk.folder / "ModelSpec.yaml").write_text(written.out)
    linted = desk("lint")
    assert linted.code == 0
    assert f"warning[spec-not-portable]: the recipe works only where `{run}` is" in linted.out
    for command in ("lint", "lock", "plan", "create"):
        refused = desk(command, "--portable")
        assert refused.code == 2
        assert f"`{run}` is not a relative path" in refused.out + refused.err
    done = desk("create")
    assert done.code == 0, done.err
    assert not list(desk.folder.rglob("*.safetensors")), "nothing is copied"
    assert desk("create", "--expect-cached", "--locked").code == 0
    assert desk("verify", "run-42:int4", "--rebuild").code == 0
    (run / "generation_config.json").write_text("{}")
    assert "the lock is stale: `generation_config.json`" in desk("create", "--locked").err


def test_a_path_that_leads_out_stays_as_it_was_given(desk: CommandLine, run: Path) -> None:
    written = desk("init", "../data/run-42").out
    assert "  path: ../data/run-42  # elsewhere" in written
    (desk.folder / "ModelSpec.yaml").write_text(written)
    assert desk("create", "--no-gates").code == 0


def test_a_snapshot_in_the_cache_of_the_hub_is_a_base(desk: CommandLine, run: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--acme--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted(run.iterdir())):
        blob = repository / "blobs" / f"{number:064x}"
        file.rename(blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    written = desk("init", str(snapshot)).out
    assert "\nname: tiny\n" in written
    (desk.folder / "ModelSpec.yaml").write_text(written)
    done = desk("create")
    assert done.code == 0, done.err
    assert desk("create", "--expect-cached").code == 0


def test_links_of_a_base_make_no_portable_recipe(mlxbuild: CommandLine, run: Path) -> None:
    model = mlxbuild.folder / "model"
    (model / "tokenizer.json").unlink()
    (model / "tokenizer.json").symlink_to(run / "tokenizer.json")
    assert mlxbuild("create").code == 0
    for command in ("lint", "create"):
        refused = mlxbuild(command, "--portable")
        assert (refused.code, "`tokenizer.json` is a link that leads out of the folder" in refused.err) == (10, True)


def test_other_files_stay_inside(desk: CommandLine, run: Path) -> None:
    lines = f"tokenizer: {{path: {run}}}\nadapters: [{{path: ../data/run-42}}]\nsystem_prompt: {{file: {run}/x.md}}\n"
    (desk.folder / "ModelSpec.yaml").write_text(f'name: a\nversion: "1"\nbase: {{path: {run}}}\n{lines}')
    said = desk("lint", "--format", "json")
    assert [problem["code"] for problem in json.loads(said.out)] == ["spec-path"] * 3


def test_a_recipe_that_arrives_over_http_reads_nothing_of_its_host(home: Home, run: Path) -> None:
    builder = ProcessBuilder(Store.open(home))
    for path in (str(run), f"../../../../../..{run}", "/nowhere"):
        spec = f'name: a\nversion: "1"\nbase: {{path: "{path}"}}\n'
        with pytest.raises(MlxbuildError) as caught:
            builder.build(BuildOrder(None, spec, {}, {}, {}), lambda line: None)
        assert str(caught.value.message).startswith(f"`{path}` ")
        assert "not there" not in caught.value.message
        assert str(home.root) not in f"{caught.value.message}{caught.value.where}{caught.value.hint}"


def test_an_artifact_from_elsewhere_reads_nothing_of_its_host(desk: CommandLine, run: Path, tmp_path: Path) -> None:
    (desk.folder / "ModelSpec.yaml").write_text(f'name: a\nversion: "1"\nbase: {{path: {run}}}\n')
    create_here(desk.folder, desk.home, as_before=True)
    assert desk("verify", "a:none", "--rebuild").code == 0, "the paths of an earlier version stay"
    assert desk("pack", "a:none", "-o", "a.tar").code == 0
    other = CommandLine(desk.folder, Home(tmp_path / "other"))
    assert other("import", "a.tar").code == 0
    refused = other("verify", "a:none", "--rebuild")
    assert refused.code == 2
    assert f"its recipe names `{run}`, which is outside of the recipe's folder" in refused.err


def write_recipe(folder: Path, base: str) -> Path:
    recipe = folder / "ModelSpec.yaml"
    recipe.write_text(f'name: a\nversion: "1"\nbase: {base}\n')
    return recipe


def pulled(artifact: Artifact, home: Path) -> Artifact:
    """The artifact in another store, whose machine knows none of its sources."""
    store = Store.open(Home(home))
    import_artifacts(store, artifact.store.home.root / "store", tell=print)
    return Artifact.open(store, artifact.digest)


def rebuilt(artifact: Artifact, recipe: Path) -> Digest:
    return rebuild(artifact, recipe, EventStream([]), run="1")


def test_the_artifact_is_the_same_wherever_its_base_lies_and_names_no_path(
    desk: CommandLine, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "elsewhere")
    built = []
    for path in (str(run), "../desk/../elsewhere/"):
        recipe = write_recipe(desk.folder, f"{{path: {path}}}")
        built.append(create_here(desk.folder, desk.home))
        assert path in recipe.with_suffix(".lock").read_text(), "the person's own lock finds the files"
    assert built[0].digest == built[1].digest
    assert desk("create", "--expect-cached", "--frozen").code == 0
    assert desk("keygen", "mine").code == 0
    assert desk("sign", "a:none", "--key", "mine").code == 0
    for blob in desk.store.blobs():
        content = desk.store.path(blob.digest).read_bytes()
        for path in (str(tmp_path), "run-42", "elsewhere"):
            assert path.encode() not in content, f"{path} in {blob}"
    assert json.loads(built[0].read(RECIPE_FILE))["base"].keys() == {"content"}
    assert rebuilt(built[0], recipe) == built[0].digest
    assert difference(*built).equal
    (run / "generation_config.json").write_text("{}")
    write_recipe(desk.folder, f"{{path: {run}}}")
    changed = {change.path for change in difference(built[0], create_here(desk.folder, desk.home)).documents["lock"]}
    assert changed == {"base.identity", "base.files.generation_config.json"}


def test_who_pulls_an_artifact_rebuilds_it_from_a_folder_of_their_own(
    desk: CommandLine, run: Path, tmp_path: Path
) -> None:
    write_recipe(desk.folder, f"{{path: {run}}}")
    theirs = pulled(create_here(desk.folder, desk.home), tmp_path / "other")
    with pytest.raises(
        SourceMissing, match=r"names by content alone \(sha256:\w{64}\), and its `[^`]+` is nowhere known"
    ) as lost:
        rebuilt(theirs, tmp_path / "ModelSpec.yaml")
    assert "folder with chat_template.jinja, config.json, model-00001-of-00002.safetensors" in (lost.value.hint or "")
    assert "or name a recipe with `-f` whose base is a copy of it" in (lost.value.hint or "")
    mine = Path(shutil.move(run, tmp_path / "mine"))
    recipe = write_recipe(tmp_path, f"{{path: {mine}}}\nquantization: int8\ndescription: another recipe")
    config = (mine / "config.json").read_text()
    (mine / "config.json").write_text(config + " ")
    with pytest.raises(SourceMissing, match=f"`{mine}/config.json` is another"):
        rebuilt(theirs, recipe)
    (mine / "config.json").write_text(config)
    assert rebuilt(theirs, recipe) == theirs.digest


def test_a_gguf_file_elsewhere_is_named_by_content_too(desk: CommandLine, tmp_path: Path) -> None:
    built = []
    for place in (tmp_path / "one", tmp_path / "two"):
        place.mkdir()
        tiny_gguf(place / "tiny.gguf", ["Q4_0"])
        recipe = write_recipe(desk.folder, f"{{gguf: {place}/tiny.gguf}}")
        built.append(create_here(desk.folder, desk.home))
    assert built[0].digest == built[1].digest
    (tmp_path / "one" / "tiny.gguf").unlink()
    # Its documents are derived again, of the file that the recipe names.
    theirs = pulled(built[0], tmp_path / "other")
    assert rebuilt(theirs, recipe) == theirs.digest
    assert compare_with_source(theirs, recipe).largest("exact") == 0
