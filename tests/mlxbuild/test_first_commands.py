"""The commands that newcomers try first: folders as arguments, words of other tools, help, and a first recipe."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlxbuild import __version__
from mlxbuild.cli.program import COMMANDS, OF_OTHER_TOOLS
from mlxbuild.toolchain.spec.initial import slug
from tests.mlxbuild.conftest import PROGRAM, CommandLine
from tests.terminal import run_on_terminal
from tests.toolchain.sources.gguf.tiny_gguf import tiny_gguf


@pytest.mark.parametrize("words", [["."], ["ModelSpec.yaml"], ["-f", "."], []])
def test_a_recipe_is_named_by_itself_or_its_folder(mlxbuild: CommandLine, words: list[str]) -> None:
    planned = mlxbuild("plan", *words)
    told = "there is no ModelSpec.lock; the sources are looked up, and nothing is written\n"
    assert (planned.code, planned.err) == (0, told)
    assert "tiny:int4/pack" in planned.out


def test_a_folder_of_recipes_is_linted_planned_and_built(mlxbuild: CommandLine) -> None:
    recipes = mlxbuild.folder / "recipes"
    for name in ("second", "first"):
        shutil.copytree(mlxbuild.folder / "model", recipes / name / "model")
        text = (mlxbuild.folder / "ModelSpec.yaml").read_text().replace("name: tiny", f"name: {name}")
        (recipes / name / "ModelSpec.yaml").write_text(text)
    assert mlxbuild("lint", "recipes").out == "2 recipes are fine\n"
    assert "first:int4/pack" in mlxbuild("plan", "recipes").out
    done = mlxbuild("create", "-f", "recipes", "--no-gates")
    assert done.code == 0, done.err
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["first", "first", "second", "second"]


def test_a_file_of_another_tool_is_no_recipe(mlxbuild: CommandLine) -> None:
    (mlxbuild.folder / "Modelfile").write_text("FROM ./model\n")
    (mlxbuild.folder / "Kitfile").write_text("manifestVersion: 1.0.0\nmodel: {path: ./model}\n")
    told = mlxbuild("create", "-f", "Modelfile")
    assert told.code == 2
    assert told.err == (
        "error[not-a-recipe]: `Modelfile` is a Modelfile of Ollama, not a recipe\n"
        "hint: `mlxbuild create NAME -f Modelfile` builds it; `mlxbuild import Modelfile` prints a recipe\n"
    )
    told = mlxbuild("plan", "Kitfile")
    assert told.err.startswith("error[not-a-recipe]: `Kitfile` is a Kitfile, not a recipe\n")


@pytest.mark.parametrize("word", OF_OTHER_TOOLS)
def test_words_of_other_tools_lead_to_ours(mlxbuild: CommandLine, word: str) -> None:
    assert word not in COMMANDS
    told = mlxbuild(word)
    assert (told.code, told.err) == (
        2,
        f"error[unknown-command]: there is no command `{word}`\nhint: {OF_OTHER_TOOLS[word]}\n",
    )
    named = [part.split()[0] for part in OF_OTHER_TOOLS[word].split("`mlxbuild ")[1:]]
    assert 1 <= len(named) <= 3
    assert {name.strip("`") for name in named} <= set(COMMANDS)


def test_help_and_version_are_found(mlxbuild: CommandLine) -> None:
    bare = mlxbuild()
    assert (bare.code, bare.err) == (0, "")
    assert bare.out.startswith("Usage: mlxbuild [OPTIONS] COMMAND")
    assert mlxbuild("help").out == mlxbuild("--help").out == bare.out
    assert mlxbuild("help", "create").out == mlxbuild("create", "--help").out
    assert mlxbuild("--version").out == mlxbuild("-v").out == f"mlxbuild {__version__}\n"


def test_init_writes_the_recipe_on_a_terminal_and_never_over_another(mlxbuild: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    shutil.copytree(mlxbuild.folder / "model", folder / "model")

    def init(*words: str) -> tuple[int, str]:
        return run_on_terminal([PROGRAM, "init", "model", *words], folder, mlxbuild.environment())

    assert init() == (0, "ModelSpec.yaml\nnext: look through it, then run `mlxbuild create`\n")
    written = (folder / "ModelSpec.yaml").read_text()
    here = CommandLine(folder, mlxbuild.home)
    assert here("lint").code == 0
    assert here("init", "model").out == written  # piped, it is printed
    code, shown = init()
    assert code == 2
    assert shown.startswith("error[recipe-exists]: there is a `ModelSpec.yaml` already\n")
    assert init("-o", "other.yaml") == (
        0,
        "other.yaml\nnext: look through it, then run `mlxbuild create other.yaml`\n",
    )
    assert init("-o", "-")[1].splitlines() == written.splitlines()
    assert here("init", "model", "-o", "piped.yaml").out == "piped.yaml\n"
    assert (folder / "piped.yaml").read_text() == written


@pytest.mark.parametrize(
    ("name", "told"),
    {
        "hf.co/Qwen/Qwen3-0.6B": "error[not-a-registry]: `hf.co/Qwen/Qwen3-0.6B` is a model on the Hugging Face Hub, "
        "not an artifact in a registry\nhint: `mlxbuild init Qwen/Qwen3-0.6B` writes a recipe that builds it\n",
        "https://huggingface.co/Qwen/Qwen3-0.6B/tree/main": "error[not-a-registry]: "
        "`https://huggingface.co/Qwen/Qwen3-0.6B/tree/main` is a model on the Hugging Face Hub, not an artifact in a "
        "registry\nhint: `mlxbuild init Qwen/Qwen3-0.6B` writes a recipe that builds it\n",
        "ollama.com/library/qwen3:0.6b": "error[not-a-registry]: `ollama.com/library/qwen3:0.6b` is a model in "
        "Ollama's registry, not an artifact\nhint: `mlxbuild import ollama:qwen3:0.6b` takes it from there\n",
        "registry.ollama.ai/acme/m": "error[not-a-registry]: `registry.ollama.ai/acme/m` is a model in "
        "Ollama's registry, not an artifact\nhint: `mlxbuild import ollama:acme/m` takes it from there\n",
        "Qwen/Qwen3-0.6B": "error[invalid-reference]: `Qwen/Qwen3-0.6B` has uppercase letters, which names cannot "
        "hold\nhint: for a model on the Hub write `mlxbuild init Qwen/Qwen3-0.6B`\n",
        "acme/model": "error[no-registry]: `acme/model` names no registry\nhint: write host/acme/model, or set "
        "default_registry in config.yaml; for a model on the Hub write `mlxbuild init acme/model`\n",
    }.items(),
)
def test_names_of_the_hub_and_of_ollama_lead_to_their_commands(mlxbuild: CommandLine, name: str, told: str) -> None:
    pulled = mlxbuild("pull", name)
    assert (pulled.code, pulled.err) == (2, told)
    if name != "acme/model":
        asked = mlxbuild("run", name, "Hi")
        assert (asked.code, asked.err) == (2, told)


def test_a_missing_model_is_told_before_a_missing_prompt(mlxbuild: CommandLine) -> None:
    told = mlxbuild("run", "llama3.2", stdin="")
    assert (told.code, told.err.splitlines()[0]) == (
        2,
        "error[unknown-reference]: `llama3.2:latest` is not in the store",
    )
    assert "`mlxbuild import ollama:llama3.2` begins with a model of Ollama's registry" in told.err
    mlxbuild.built()
    assert mlxbuild("run", "tiny", stdin="").err.startswith("error[no-prompt]: there is no prompt\n")


@pytest.mark.parametrize(
    "words", [["run", "", "hi"], ["chat", ""], ["export", "", "out"], ["push", "", "localhost:1/a"]]
)
def test_a_path_in_place_of_a_name_leads_to_the_command_that_builds_it(mlxbuild: CommandLine, words: list[str]) -> None:
    tiny_gguf(mlxbuild.folder / "smol-Q4_0.gguf")
    (mlxbuild.folder / "Modelfile").write_text("FROM ./model\n")
    for path, told in {
        "./smol-Q4_0.gguf": ("a GGUF file", "create smol -f smol-Q4_0.gguf"),
        "smol-Q4_0.gguf": ("a GGUF file", "create smol -f smol-Q4_0.gguf"),
        "./model": ("a model folder", "create model -f model"),
        "model": ("a model folder", "create model -f model"),
        ".": ("a folder with a recipe", "create ."),
        "ModelSpec.yaml": ("a recipe", "create ModelSpec.yaml"),
        "./Modelfile": ("a Modelfile", f"create {slug(mlxbuild.folder.name)} -f Modelfile"),
    }.items():
        refused = mlxbuild(*(word or path for word in words))
        assert (refused.code, refused.err) == (
            2,
            f"error[path-named]: `{path}` is {told[0]}, not the name of an artifact\n"
            f"hint: `mlxbuild {told[1]}` builds it first\n",
        )


def test_near_names_are_suggested_for_gates_variants_and_kinds_of_evidence(mlxbuild: CommandLine) -> None:
    mlxbuild.built()
    for words, told in {
        ("test", "tiny:int4", "--gate", "contens"): "error[unknown-gate]: the artifact has no gate `contens`\n"
        "  --> tiny:int4\nhint: did you mean `contents`?\n",
        ("graph", "--variant", "in4"): "error[unknown-variant]: there is no variant `in4`\n"
        f"  --> {mlxbuild.folder}/ModelSpec.yaml\nhint: did you mean `int4`?\n",
        ("evidence", "tiny:int4", "--show", "provenence"): "error[no-evidence]: it has no evidence of kind "
        "`provenence`\n  --> tiny:int4\nhint: did you mean `provenance`?\n",
        ("evidence", "tiny:int4", "--show", "signature"): "error[no-evidence]: it has no evidence of kind `signature`\n"
        "  --> tiny:int4\nhint: nothing is attached to it\n",
        ("graph", "--format", "svg"): "error[unknown-choice]: there is no format `svg`\n"
        "hint: formats are mermaid, dot and json\n",
    }.items():
        done = mlxbuild(*words)
        assert (done.code, done.err) == (2, told)


def test_lines_of_a_chat_that_are_commands_are_never_sent(mlxbuild: CommandLine) -> None:
    mlxbuild.built("none")
    lines = (
        "/set temperature 0",
        "/set parameter temperature 0.5",
        "/set parameter seed x",
        "/set parameter temperature 99",
        "/set system Count.",
        "/show info",
        "/save mine",
        "/load mine",
        "/foo bar",
        "/bye",
    )
    told = mlxbuild("chat", "tiny:none", stdin="\n".join(lines) + "\n")
    assert (told.code, told.out) == (0, "")
    assert told.err.splitlines() == [
        "there is nothing like `/set temperature 0`; write `/set system TEXT`, or `/set parameter` and temperature, "
        "seed or max_tokens; `mlxbuild chat` also takes --system and --temperature",
        "`x` is not a value for seed",
        "temperature cannot be 99.0: between 0 and 10",
        "model       tiny:none",
        "system      Count.",
        "parameters  temperature 0.5",
        "`mlxbuild show tiny:none` prints what the model sets",
        "there is no command `/save`; `mlxbuild create NAME -f Modelfile` makes a model with a system prompt and "
        "parameters",
        "there is no command `/load`; leave with /bye, and name the model: `mlxbuild chat NAME`",
        "there is no command `/foo`; /? lists the commands",
    ]
    assert "/set system TEXT" in mlxbuild("chat", "tiny:none", stdin="/?\n").err


def test_a_text_of_several_lines_is_one_turn(mlxbuild: CommandLine) -> None:
    mlxbuild.built("none")
    several = mlxbuild("chat", "tiny:none", "--max-tokens", "2", "--verbose", stdin='"""one\n/two\nthree"""\n')
    assert several.code == 0, several.err
    assert several.err.count("prompt tokens") == 1
    paths = mlxbuild("chat", "tiny:none", "--max-tokens", "2", "--verbose", stdin="/etc/hosts is what?\n")
    assert paths.err.count("prompt tokens") == 1
