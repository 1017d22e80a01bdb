"""`mlxbuild create NAME -f Modelfile`, as Ollama's users know it."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.mlxbuild.conftest import CommandLine
from tests.toolchain.sources.gguf.tiny_gguf import tiny_gguf


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


def test_a_gguf_file_and_a_model_folder_become_one_artifact_each(here: CommandLine) -> None:
    tiny_gguf(here.folder / "smol-Q4_0.gguf", ["Q4_0"])
    refused = here("create", "smol-Q4_0.gguf")
    assert refused.err == (
        "error[not-a-recipe]: `smol-Q4_0.gguf` is a GGUF file, not a recipe\n"
        "hint: `mlxbuild create smol -f smol-Q4_0.gguf` builds it; `mlxbuild import smol-Q4_0.gguf` prints a recipe\n"
    )
    done = here("create", "smol", "-f", "smol-Q4_0.gguf")
    assert (done.code, done.out.split()[0]) == (0, "smol:latest"), done.err
    assert "  int4 (kept)  " in here("list").out
    (here.folder / "beside").mkdir()
    shutil.copy(here.folder / "smol-Q4_0.gguf", here.folder / "beside")
    assert here("create", "smol:again", "-f", "beside").out.split()[1] == done.out.split()[1]
    tiny_gguf(here.folder / "beside" / "other-Q8_0.gguf")
    several = here("create", "again", "-f", "beside")
    assert several.err == (
        "error[several-files]: there are 2 GGUF files: `other-Q8_0.gguf`, `smol-Q4_0.gguf`\n"
        "  --> beside\nhint: name one of them with -f\n"
    )

    refused = here("create", "model")
    assert refused.err == (
        "error[recipe-missing]: there is no recipe in `model` or below it\n"
        "hint: `mlxbuild create model -f model` builds it; `mlxbuild import model` prints a recipe\n"
    )
    (here.folder / "Modelfile").write_text("FROM ./model\n")
    plain = here("create", "tiny", "-f", "./model")
    assert plain.code == 0, plain.err
    assert here("create", "tiny:same", "-f", "Modelfile").out.split()[1] == plain.out.split()[1]


def test_a_model_is_quantized_by_the_names_of_ollama_and_of_recipes(here: CommandLine) -> None:
    (here.folder / "Modelfile").write_text("FROM ./model\n")
    digests = set()
    for word in ("q4_K_M", "int4"):
        done = here("create", "brief", "-f", "Modelfile", "-q", word)
        assert done.code == 0, done.err
        digests.add(done.out.split()[1])
    assert len(digests) == 1
    assert "mlx-affine-4bit" in here("list").out
    unknown = here("create", "brief", "-f", "Modelfile", "--quantize", "q9")
    assert unknown.err.startswith("error[not-creatable]: there is no quantization `q9`\nhint: there are int4, ")
    refused = here("create", "--quantize", "int4")
    assert (refused.code, refused.err) == (
        2,
        "error[quantization-of-recipe]: recipes say themselves how to quantize\n"
        "hint: write `quantization` in the recipe\n",
    )


@pytest.mark.parametrize(
    ("line", "told"),
    {
        "PARAMETER temprature 0.3": "error[bad-modelfile]: there is no parameter `temprature`\n  --> Modelfile:2\n"
        "hint: did you mean `temperature`?\n",
        "PARAMETER num_ctx abc": "error[bad-modelfile]: `abc` is not a whole number\n  --> Modelfile:2\n"
        "hint: `num_ctx` takes one\n",
        "PARAMETER top_p 7": "error[bad-modelfile]: `top_p` cannot be 7\n  --> Modelfile:2\nhint: it is out of range\n",
    }.items(),
)
def test_a_wrong_parameter_is_an_error_at_its_line(here: CommandLine, line: str, told: str) -> None:
    (here.folder / "Modelfile").write_text(f"FROM ./model\n{line}\n")
    refused = here("create", "brief", "-f", "Modelfile")
    assert (refused.code, refused.err) == (2, told)
    assert here("import", "Modelfile").code == 0


def test_what_has_no_effect_is_told_in_words_of_the_modelfile_and_licenses_are_kept(here: CommandLine) -> None:
    (here.folder / "Modelfile").write_text(
        "FROM ./model\nPARAMETER num_gpu 9\nPARAMETER repeat_last_n 64\n"
        'TEMPLATE Hello {{ .Prompt }}\nLICENSE """Do what you want,\nbut not that."""\n'
    )
    done = here("create", "brief", "-f", "Modelfile")
    assert done.code == 0, done.err
    assert [line for line in done.err.splitlines() if line.startswith("warning: ")] == [
        "warning: `num_gpu` has no effect here, line 2.",
        "warning: `repeat_last_n` is left out, line 3: only requests can set it.",
        "warning: TEMPLATE, line 4: a Go template cannot be carried, and this is none of the common ones. The base's "
        "own template is used.",
    ]
    assert here("export", "brief", "out").code == 0
    assert (here.folder / "out" / "LICENSE").read_text() == "Do what you want,\nbut not that."


def test_what_is_no_model_is_told_by_its_name(here: CommandLine) -> None:
    (here.folder / "Bad3").write_text("SYSTEM Be brief.\n")
    (here.folder / "Modelfile").write_text("FROM ./model\n")
    for words, told in {
        ("foo", "-f", "Bad3"): "error[bad-modelfile]: Bad3 has no FROM line\n"
        "hint: a Modelfile names its model as `FROM ./model.gguf`, a folder or a name\n",
        ("foo", "-f", "Nofile"): "error[recipe-missing]: there is no file `Nofile`\n"
        "hint: -f names a Modelfile, a GGUF file or a model folder\n",
        ("foo",): "error[recipe-missing]: there is no recipe `foo`\n"
        "hint: did you mean `mlxbuild create foo -f Modelfile`?\n",
    }.items():
        refused = here("create", *words)
        assert (refused.code, refused.err) == (2, told)


@pytest.mark.parametrize("kind", ["Q4_0", "F16"])
def test_what_is_built_from_an_artifact_of_a_gguf_file_computes_as_that_does(here: CommandLine, kind: str) -> None:
    tiny_gguf(here.folder / "smol.gguf", [kind])
    assert here("create", "pirate", "-f", "smol.gguf").code == 0
    (here.folder / "Modelfile").write_text("FROM pirate\nSYSTEM Sing.\n")
    done = here("create", "mario", "-f", "Modelfile")
    assert done.code == 0, done.err
    facts, same = (json.loads(here("show", name, "--json").out)["facts"] for name in ("mario", "pirate"))
    assert facts["compute_dtype"] == "float32"
    assert facts == same


def test_of_an_adapter_its_files_alone_are_taken(here: CommandLine) -> None:
    (here.folder / "Modelfile").write_text("FROM ./model\nADAPTER ./gone\n")
    told = here("create", "brief", "-f", "Modelfile")
    assert told.code == 2
    assert f"error[bad-modelfile]: there is no adapter in `{here.folder}/gone`\n" in told.err
    (here.folder / "adapters.safetensors").write_bytes(b"no adapter")
    (here.folder / "Modelfile").write_text("FROM ./model\nADAPTER .\n")  # beside the model
    told = here("create", "brief", "-f", "Modelfile")
    assert told.code != 0
    assert "environment" not in told.err
    assert list((here.home.cache / "work").iterdir()) == []
