"""Command lines that shells complete."""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mlxbuild.cli import completing
from mlxbuild.cli.program import COMMANDS
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import Descriptor
from tests.mlxbuild.conftest import PROGRAM, CommandLine

NAMES = ("acme/big:latest", "hello:int4", "hello:int4-1.0", "hello:int8")
DIGEST = Digest.parse("sha256:" + "0" * 64)
SLOW = {"mlx", "mlx_lm", "huggingface_hub", "sanic", "transformers", "networkx", "pydantic", "requests", "yaml", "rich"}
Completed = Callable[..., list[str]]


@pytest.fixture
def line(tmp_path: Path, home: Home) -> CommandLine:
    """The program, in a folder with recipes, and a store with names."""
    Store.open(home).tags.set({name: Descriptor(DIGEST, 2, "x/y") for name in NAMES})
    for recipe in ("ModelSpec.yaml", "small.yml", "below/ModelSpec.yaml"):
        (tmp_path / "work" / recipe).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / recipe).touch()
    (tmp_path / "work" / "notes.txt").touch()
    return CommandLine(tmp_path / "work", home)


@pytest.fixture
def in_bash(line: CommandLine) -> Completed:
    """Completes the last of the words in a real bash, which are broken as bash breaks them."""

    def completed(*words: str, env: dict[str, str] | None = None) -> list[str]:
        script = f"""
            export PATH={shlex.quote(str(PROGRAM.parent))}:$PATH
            source <(mlxbuild completion bash)
            COMP_WORDS=(mlxbuild {shlex.join(words)})
            COMP_CWORD={len(words)}
            _mlxbuild_completion mlxbuild
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            cwd=line.folder,
            env=line.environment(env),
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return completed


def test_bash_completes_every_kind_of_word(in_bash: Completed) -> None:
    assert in_bash("cre") == ["create"]
    assert in_bash("show", "") == list(NAMES)
    assert in_bash("show", "--man") == ["--manifest"]
    assert in_bash("lint", "--format", "g") == ["github"]
    assert in_bash("lint", "--format", "=", "g") == ["github"]
    assert in_bash("lint", "--format", "=") == ["text", "json", "github"]
    assert in_bash("serve", "--log", "") == ["file", "stderr"]
    assert in_bash("config", "s") == ["show", "set"]
    assert in_bash("config", "set", "keep") == ["keep_alive"]
    assert in_bash("completion", "") == ["bash", "zsh", "fish"]
    assert in_bash("plan", "") == ["ModelSpec.yaml", "small.yml", "below/ModelSpec.yaml"]
    assert in_bash("verify", "hello:int4", "-f", "below/") == ["below/ModelSpec.yaml"]
    assert in_bash("export", "hello:int4", "") == []  # bash then completes files
    assert in_bash("nothing", "") == list(COMMANDS)


def test_bash_completes_names_from_where_it_breaks_them(in_bash: Completed) -> None:
    assert in_bash("rm", "hello", ":") == ["int4", "int4-1.0", "int8"]
    assert in_bash("rm", "hello", ":", "int4") == ["int4", "int4-1.0"]
    assert in_bash("diff", "hello", ":", "int4", "hello", ":", "int8") == ["int8"]
    assert in_bash("rm", "acme/") == ["acme/big:latest"]
    assert in_bash("rm", "'hello:int8") == ["hello:int8"]  # as it stands in quotes, which bash does not break


def test_names_are_of_the_home_that_is_asked(in_bash: Completed, tmp_path: Path) -> None:
    assert in_bash("--home", str(tmp_path / "other"), "show", "") == []
    assert not (tmp_path / "other").exists(), "completing writes nothing"
    broken = tmp_path / "broken"
    (broken / "store").mkdir(parents=True)
    (broken / "store" / "index.json").write_text("{")
    assert in_bash("show", "", env={"MLXBUILD_HOME": str(broken)}) == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_answered_with_names_and_help(line: CommandLine, shell: str) -> None:
    def answered(words: str) -> str:
        environment = line.environment(
            {completing.VARIABLE: f"complete_{shell}", "_TYPER_COMPLETE_ARGS": words}
            | {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        )
        done = subprocess.run([PROGRAM], env=environment, cwd=line.folder, capture_output=True, text=True, check=True)
        return done.stdout

    names, options = answered("mlxbuild show hello:int8"), answered("mlxbuild show --man")
    assert names.replace("\\", "").replace('"', "").count("hello:int8") == 1
    assert "--manifest" in options
    assert "Print the manifest as stored." in options


def test_every_shell_has_a_script(line: CommandLine) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = line("completion", shell)
        assert (done.code, f"{completing.VARIABLE}=complete_{shell}" in done.out) == (0, True)
        if (program := shutil.which(shell)) is not None:
            subprocess.run([program, "-n"], input=done.out, text=True, check=True)


@pytest.mark.parametrize("words", ["show ", "create ", "lint --format ", "config set ", "serve --", ""])
def test_nothing_slow_is_imported(line: CommandLine, words: str) -> None:
    code = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps([name for name, module in sys.modules.items() if module]), file=sys.stderr))
from mlxbuild.cli.program import run
sys.exit(run([]))
"""
    environment = line.environment({completing.VARIABLE: "complete_fish", "_TYPER_COMPLETE_ARGS": f"mlxbuild {words}"})
    environment |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=line.folder, capture_output=True, text=True, check=True
    )
    assert len(done.stdout.split()) > 1
    loaded = set(json.loads(done.stderr))
    assert not SLOW & {name.partition(".")[0] for name in loaded}
    assert not [name for name in loaded if name.endswith("_command")]
    assert not {"socket", "ssl", "http.client"} & loaded, "nothing speaks with a network"


def test_every_argument_that_takes_a_name_is_completed() -> None:
    table = json.loads(completing.TABLE.read_text(encoding="utf-8"))
    without = set()
    for command, parameter in _arguments():
        (told,) = [each for each in _told(table, command)["parameters"] if each["written"][0] == parameter.name]
        if told.get("values") is None:
            without.add((command, parameter.name))
    assert without == {
        *(("init", "model"), ("why", "step"), ("keygen", "name"), ("run", "prompt"), ("embed", "texts")),
        *(("export", "folder"), ("import", "path"), ("cp", "target"), ("push", "target"), ("pull", "name")),
        *(("copy", "source"), ("copy", "target"), ("search", "word"), ("login", "host"), ("logout", "host")),
        *(("log", "run"), ("config set", "value"), ("config add-key", "name"), ("config remove-key", "name")),
    }


def _told(table: dict[str, Any], command: str) -> dict[str, Any]:
    for word in command.split():
        table = table["commands"][word]
    return table


def _arguments() -> Iterator[tuple[str, Any]]:
    for name in COMMANDS:
        command: Any = typer.main.get_command(importlib.import_module(f"mlxbuild.cli.{name}_command").app)
        below = getattr(command, "commands", None)
        commands = {name: command} if below is None else {f"{name} {word}": each for word, each in below.items()}
        for words, each in commands.items():
            yield from ((words, it) for it in each.params if it.param_type_name == "argument")
