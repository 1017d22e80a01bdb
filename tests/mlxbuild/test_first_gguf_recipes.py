"""First recipes of GGUF files: each is built as it was printed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from mlxbuild.registry.core.home import Home
from tests.hub_server import LocalHub
from tests.mlxbuild.conftest import CommandLine, Outcome
from tests.toolchain.sources.gguf.tiny_gguf import split_gguf, tiny_gguf


@pytest.fixture
def here(tmp_path: Path, home: Home) -> CommandLine:
    """The program in an empty folder."""
    (tmp_path / "here").mkdir()
    return CommandLine(tmp_path / "here", home)


def built_as_printed(here: CommandLine, printed: Outcome, **environment: str) -> dict[str, object]:
    """The recipe, once it was built and has answered."""
    assert printed.code == 0, printed.err
    (here.folder / "ModelSpec.yaml").write_text(printed.out)
    done = here("create", env=environment)
    assert done.code == 0, done.err
    assert here("run", done.out.split()[0], "ab", "--max-tokens", "2").code == 0
    recipe: dict[str, object] = yaml.safe_load(printed.out)
    return recipe


def test_a_file(here: CommandLine) -> None:
    about = {"general__license": "apache-2.0", "general__description": "Says little: on purpose"}
    source = {"general__base_model__0__repo_url": "https://huggingface.co/acme/tiny"}
    tiny_gguf(here.folder / "Tiny-1M-Instruct.Q4_K_M.gguf", ["Q4_K", "Q6_K"], **about, **source)
    printed = here("init", "Tiny-1M-Instruct.Q4_K_M.gguf")
    recipe = built_as_printed(here, printed)
    assert recipe["name"] == "tiny-1m-instruct"
    assert recipe["base"] == {"gguf": "Tiny-1M-Instruct.Q4_K_M.gguf"}
    assert (recipe["quantization"], recipe["license"]) == ("keep", "apache-2.0")
    assert recipe["description"] == "Says little: on purpose"
    assert recipe["defaults"] == {"context": 128}
    assert "# Matrices in the file: 8 of Q4_K, 7 of Q6_K." in printed.out
    assert "# tokenizer: {hf_repo: acme/tiny}" in printed.out


def test_what_does_not_fit_a_recipe_is_left_out(here: CommandLine) -> None:
    odd = {"general__license": "other\nname: x", "general__description": "two\nlines", "tokenizer__chat_template": 7}
    tiny_gguf(here.folder / "odd.gguf", **{key: value for key, value in odd.items() if "template" not in key})
    recipe = built_as_printed(here, here("init", "odd.gguf", "--name", "Odd One"))
    assert (recipe["name"], recipe["description"]) == ("odd-one", "llama from odd.gguf")
    assert "license" not in recipe


def test_a_type_that_cannot_stay_is_rounded_with_a_warning(here: CommandLine) -> None:
    tiny_gguf(here.folder / "tiny.gguf", ["Q2_K"])
    printed = here("init", "tiny.gguf")
    assert built_as_printed(here, printed)["quantization"] == "int8"
    assert "this rounds a second time" in printed.out


def test_a_folder_of_one_model(here: CommandLine) -> None:
    (here.folder / "models").mkdir()
    split_gguf(here.folder / "models", "tiny-Q8_0", 2)
    (here.folder / "models" / "mmproj-tiny-f16.gguf").write_bytes(b"GGUF")
    recipe = built_as_printed(here, here("init", "models"))
    assert recipe["base"] == {"gguf": "models/tiny-Q8_0-00001-of-00002.gguf"}
    assert recipe["name"] == "tiny"
    assert here("import", "models").out == here("init", "models").out


def test_of_several_models_one_is_named(here: CommandLine) -> None:
    for name in ("a-Q4_0.gguf", "a-Q8_0.gguf"):
        tiny_gguf(here.folder / name)
    refused = here("init", ".")
    assert refused.code == 2
    assert "error[several-files]: there are 2 GGUF files: `a-Q4_0.gguf`, `a-Q8_0.gguf`" in refused.err
    assert "hint: name one with --file" in refused.err
    assert yaml.safe_load(here("init", ".", "--file", "a-Q8_0.gguf").out)["base"] == {"gguf": "a-Q8_0.gguf"}
    assert "did you mean `a-Q8_0.gguf`?" in here("init", ".", "--file", "a-Q8_1.gguf").err


def test_a_repository_of_the_hub(here: CommandLine, local_hub: LocalHub) -> None:
    data = tiny_gguf(here.folder / "made").read_bytes()
    local_hub.publish("acme/tiny-GGUF", {"q4/tiny-Q4_0.gguf": data, "tiny-Q8_0.gguf": data, "README.md": b""})
    environment = {name: value for name, value in os.environ.items() if name.startswith("HF_")}
    refused = here("init", "acme/tiny-GGUF", env=environment)
    assert "there are 2 GGUF files: `q4/tiny-Q4_0.gguf`, `tiny-Q8_0.gguf`" in refused.err
    printed = here("init", "acme/tiny-GGUF", "--file", "q4/tiny-Q4_0.gguf", env=environment)
    recipe = built_as_printed(here, printed, **environment)
    assert recipe["base"] == {"hf_repo": "acme/tiny-GGUF", "revision": "main", "file": "q4/tiny-Q4_0.gguf"}


def test_an_adapter_is_refused_with_a_way_on(here: CommandLine) -> None:
    tiny_gguf(here.folder / "lora.gguf", general__type="adapter")
    refused = here("init", "lora.gguf")
    assert refused.code == 2
    assert "the file holds an adapter (LoRA), not a model" in refused.err
    assert "adapters are taken as PEFT or mlx-lm write them" in refused.err


def test_a_modelfile(here: CommandLine) -> None:
    tiny_gguf(here.folder / "Tiny-Q8_0.gguf")
    (here.folder / "Modelfile").write_text("FROM ./Tiny-Q8_0.gguf\nSYSTEM Be brief.\nPARAMETER temperature 0\n")
    recipe = built_as_printed(here, here("import", "Modelfile"))
    assert (recipe["name"], recipe["base"]) == ("tiny", {"gguf": "Tiny-Q8_0.gguf"})
    assert (recipe["system_prompt"], recipe["defaults"]) == ("Be brief.", {"temperature": 0.0})
