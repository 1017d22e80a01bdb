"""`mlxbuild create NAME -f Modelfile`, as Ollama's users know it."""

from __future__ import annotations

import json

import pytest

from tests.mlxbuild.conftest import CommandLine


@pytest.fixture
def here(mlxbuild: CommandLine) -> CommandLine:
    """The program in a folder with a model, and no recipe."""
    (mlxbuild.folder / "ModelSpec.yaml").unlink()
    return mlxbuild


def test_a_modelfile_becomes_one_artifact_under_its_name(here: CommandLine) -> None:
    (here.folder / "Modelfile").write_text('FROM ./model\nSYSTEM "Be brief."\nPARAMETER temperature 0.2\n')
    before = {path.name for path in here.folder.iterdir()}
    done = here("create", "me/brief", "-f", "Modelfile")
    assert done.code == 0, done.err
    assert done.out.startswith("me/brief:latest sha256:")
    assert {path.name for path in here.folder.iterdir()} == before
    assert list((here.home.cache / "work").iterdir()) == []
    assert [row["name"] for row in json.loads(here("list", "--json").out)] == ["me/brief:latest"]
    shown = json.loads(here("show", "me/brief", "--json").out)
    assert "Be brief." in json.dumps(shown)
    again = here("create", "me/brief", "-f", "Modelfile")
    assert again.out == done.out
    assert "0 ran" in again.err or "cached" in again.err.splitlines()[-1]


def test_a_modelfile_may_build_on_what_its_name_stands_for(here: CommandLine) -> None:
    (here.folder / "Modelfile").write_text("FROM ./model\nPARAMETER temperature 0.2\n")
    first = here("create", "brief", "-f", "Modelfile").out.split()[1]
    (here.folder / "Modelfile").write_text("FROM brief\nSYSTEM Count.\n")
    done = here("create", "brief:v2", "-f", "Modelfile")
    assert done.code == 0, done.err
    assert done.out.startswith("brief:v2 sha256:")
    done = here("create", "brief", "-f", "Modelfile")
    assert done.code == 0, done.err
    assert done.out.split()[1] != first
    assert here("show", first).code == 0 or "unknown" in here("show", first).err


def test_what_cannot_be_built_is_an_error(here: CommandLine) -> None:
    (here.folder / "Modelfile").write_text("FROM ./gone\n")
    told = here("create", "brief", "-f", "Modelfile")
    assert told.code == 2
    assert told.err.startswith("error[bad-modelfile]: there is no `./gone`\n  --> Modelfile:1:1\n")
    (here.folder / "Modelfile").write_text("FROM hf.co/acme/hello-GGUF:Q4_K_M\n")
    told = here("create", "brief", "-f", "Modelfile")
    assert told.code == 2
    assert "error[bad-modelfile]: its FROM line cannot be built from\n" in told.err
    assert "name the GGUF file" in told.err
    (here.folder / "Modelfile").write_text("FROM ./model\n")
    assert here("create", "Not A Name", "-f", "Modelfile").code == 2
