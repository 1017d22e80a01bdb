"""`mlxbuild rm`: single names, patterns and whole models, with and without a person to ask."""

from __future__ import annotations

import pytest

from tests.mlxbuild.conftest import PROGRAM, CommandLine
from tests.terminal import run_on_terminal


@pytest.fixture
def built(mlxbuild: CommandLine) -> CommandLine:
    """The program with two variants, one of which has another name."""
    mlxbuild.built()
    assert mlxbuild("cp", "tiny:int4", "mine:x").code == 0
    return mlxbuild


def names(mlxbuild: CommandLine) -> set[str]:
    return {name for name, _ in mlxbuild.store.tags.items()}


TINY = {"tiny:1.0", "tiny:int4", "tiny:int4-1.0", "tiny:latest", "tiny:none", "tiny:none-1.0"}


def test_a_name_goes_alone(built: CommandLine) -> None:
    told = built("rm", "tiny:int4")
    assert told.out == "removed tiny:int4\n"
    assert told.err == "`mine:x` and 3 more names still keep it: `mlxbuild rm --all-names mine:x` removes all\n"
    assert names(built) == TINY - {"tiny:int4"} | {"mine:x"}


def test_a_pattern_needs_a_yes_where_nobody_can_be_asked(built: CommandLine) -> None:
    told = built("rm", "tiny:*")
    assert (told.code, told.out) == (2, "")
    assert told.err == (
        f"this removes 6 names: {', '.join(sorted(TINY))}\n"
        "error[not-confirmed]: nothing was removed\n"
        "hint: add --yes to remove them without a question\n"
    )
    assert names(built) == TINY | {"mine:x"}
    assert built("rm", "tiny:*", "--yes").code == 0
    assert names(built) == {"mine:x"}
    told = built("rm", "tiny:*", "--yes")
    assert told.err.startswith("error[unknown-reference]: no name in the store matches `tiny:*`\n")


def test_a_whole_model_goes_with_all_its_names(built: CommandLine) -> None:
    assert built("rm", "--all-names", "tiny").code == 2
    assert built("rm", "--all-names", "tiny", "-y").code == 0
    assert names(built) == set()


def test_all_names_of_one_artifact_need_no_question(built: CommandLine) -> None:
    done = built("rm", "--all-names", "tiny:none")
    assert (done.code, done.err) == (0, "`mlxbuild gc` frees the disk of what no name needs\n")
    assert names(built) == TINY - {"tiny:none", "tiny:none-1.0"} | {"mine:x"}


@pytest.mark.parametrize(("typed", "left"), [("n\n", TINY | {"mine:x"}), ("y\n", {"mine:x"})])
def test_a_person_is_asked(built: CommandLine, typed: str, left: set[str]) -> None:
    code, shown = run_on_terminal([PROGRAM, "rm", "tiny:*"], built.folder, built.environment(), typed=typed)
    assert "remove them? [y/N]" in shown
    assert code == (0 if "mine:x" in left and len(left) == 1 else 2)
    assert names(built) == left
