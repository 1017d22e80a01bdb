"""How the command line behaves towards a person: plain help, told interruptions, and no answers to nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.cli.program import COMMANDS, run
from tests.mlxbuild.conftest import CommandLine


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_plain_and_offers_no_shell_completion(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Usage: mlxbuild {command}")
    assert "╭" not in told
    assert "--install-completion" not in told


def test_no_value_of_a_table_steers_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLXBUILD_HOME", str(tmp_path))
    monkeypatch.setenv("MLXBUILD_HOSTS", "a\x1b[31mb\nc")
    assert run(["config", "show"]) == 0
    assert r"  a\x1b[31mb\nc" in capsys.readouterr().out


def test_run_asks_for_a_prompt_where_nobody_can_be_asked(mlxbuild: CommandLine) -> None:
    mlxbuild.built()
    outcome = mlxbuild("run", "tiny")
    assert outcome.code == 2
    assert outcome.err.startswith("error[no-prompt]: there is no prompt")


def test_why_takes_a_name_alone_for_all_its_variants(mlxbuild: CommandLine) -> None:
    assert mlxbuild("create", "--no-gates").code == 0
    outcome = mlxbuild("why", "tiny", "tokenizer")
    assert outcome.out == "2 of 2 actions have had the same inputs since they were first built\n"


def test_a_build_without_gates_says_that_no_tag_moved(mlxbuild: CommandLine) -> None:
    outcome = mlxbuild("create", "--no-gates")
    assert outcome.err.endswith("no tag was moved, because no gates ran\n")
    assert mlxbuild("list", "--json").out == "[]\n"


def test_mistakes_become_annotations_under_github(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    edit('version: "1.0"', "version: 1.10")
    github = {"GITHUB_ACTIONS": "true"}
    assert mlxbuild("create", env=github).err.startswith("::error file=ModelSpec.yaml,line=2,col=10,")
    assert mlxbuild("lint", env=github).out.startswith("::error file=ModelSpec.yaml,line=2,col=10,")
    assert mlxbuild("show", "nothing", env=github).err.startswith("::error::unknown-reference: ")


def test_an_interrupted_build_says_so_and_is_in_the_log(mlxbuild: CommandLine) -> None:
    building = mlxbuild.start("create")
    runs = mlxbuild.home.logs / "runs"
    while not _has_begun(runs):
        assert building.poll() is None
        time.sleep(0.005)
    building.send_signal(signal.SIGINT)
    _, told = building.communicate(timeout=60)
    assert building.returncode == 130
    assert told.endswith("\ninterrupted\n")
    assert "cut short after" in mlxbuild("log").out


def _has_begun(runs: Path) -> bool:
    return runs.is_dir() and any((folder / "events.jsonl").exists() for folder in runs.iterdir())


def test_a_digest_can_be_cut_as_list_prints_it(mlxbuild: CommandLine) -> None:
    digest = mlxbuild.built("none")
    short = mlxbuild("list").out.split("tiny:none ")[1].split()[0]
    assert len(short) == 12
    for name in (short, f"sha256:{short}", digest):
        assert mlxbuild("show", name).out.startswith(f"{digest}\n  title: ")
    shown = mlxbuild("show", "tiny:none").out
    assert shown.startswith(f"tiny:none  {digest}\n  title: tiny:none@1.0\n")
    parts = [shown.index(f"\n  {part}:") for part in ("parameters", "size", "context", "defaults", "family", "facts")]
    assert parts == sorted(parts)
    assert mlxbuild("show", "0" * 12).err.startswith("error[unknown-reference]")
    assert mlxbuild("show", f"sha256:{'0' * 12}").err.startswith("error[unknown-reference]")
