"""A base on another disk: written by `init`, built in place, told by `lint`, and refused where it must not be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mlxbuild.serving.builder import ProcessBuilder
from registry.errors import MlxbuildError
from registry.home import Home
from registry.store.layout import Store
from runtime.server.application import BuildOrder
from tests.mlxbuild.conftest import CommandLine


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
            builder.build(BuildOrder(None, spec, {}, {}, {}), lambda line: None, lambda: None)
        assert str(caught.value.message).startswith(f"`{path}` ")
        assert "not there" not in caught.value.message
        assert str(home.root) not in f"{caught.value.message}{caught.value.where}{caught.value.hint}"


def test_an_artifact_from_elsewhere_reads_nothing_of_its_host(desk: CommandLine, run: Path, tmp_path: Path) -> None:
    (desk.folder / "ModelSpec.yaml").write_text(f'name: a\nversion: "1"\nbase: {{path: {run}}}\n')
    assert desk("create").code == 0
    assert desk("pack", "a:none", "-o", "a.tar").code == 0
    other = CommandLine(desk.folder, Home(tmp_path / "other"))
    assert other("import", "a.tar").code == 0
    refused = other("verify", "a:none", "--rebuild")
    assert refused.code == 2
    assert f"its recipe names `{run}`, which is outside of the recipe's folder" in refused.err
