"""Every block of commands on the pages is run as it is written there and prints what it promises, or says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, blocks
from tests.docs.shell import Shell, matches
from tests.real_tools import find

OTHERS = ("curl", "skopeo")
"""Programs of other projects on the pages, which a machine may lack."""
RUN = [page for page in PAGES if any(block.is_program and block.reason is None for block in blocks(page))]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which `examples/hello` was built, as by `make demo`."""
    home = tmp_path_factory.mktemp("built") / "home"
    command = [
        Path(sys.executable).with_name("mlxbuild"),
        "create",
        "-f",
        "examples/hello",
        "--locked",
        "--progress",
        "none",
    ]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"MLXBUILD_HOME": str(home)}, check=True)
    return home


@pytest.fixture
def shell(tmp_path: Path, built: Path) -> Iterator[Shell]:
    with Shell(tmp_path, built) as shell:
        yield shell


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_do_what_it_says(page: Path, shell: Shell) -> None:
    for block in blocks(page):
        for command in block.commands() if block.reason is None else ():
            if (program := command.text.split()[0]) in OTHERS:
                find(program)
            code, printed = shell.run(command.text)
            place = f"{page.relative_to(ROOT)}:{command.line}: {command.text}"
            assert (code != 0) == command.fails, f"{place}\nexit code {code}:\n{printed}"
            if command.output is not None:
                assert matches(printed, command.output), f"{place}\nprints:\n{printed}\npromised:\n{command.output}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_says_what_it_is(page: Path) -> None:
    """So none is left out because its language is missing, and every reason belongs to a block."""
    found = blocks(page)
    assert [block.line for block in found if not block.language] == []
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- not run:") == sum(block.reason is not None for block in found if block.is_program)
    assert text.count("\n```") == 2 * sum(block.language != "setup" for block in found)


def test_most_blocks_are_run() -> None:
    programs = [block for page in PAGES for block in blocks(page) if block.is_program]
    assert sum(block.reason is None for block in programs) > len(programs) / 2


@pytest.mark.parametrize(
    ("printed", "promised", "holds"),
    [
        ("built in 3 s\n", "built in … s\n", True),
        ("built in 3 minutes\n", "built in … s\n", False),
        ("A  B\n", "A     B\n", True),
        ("AB\n", "A B\n", False),
        ("one\ntwo\nthree\n", "one\n…\nthree\n", True),
        ("one\nthree\n", "one\n…\nthree\n", True),
        ("one\ntwo\nthree\n", "one\nthree\n", False),
        ("one\ntwo\n", "one\n", False),
        ("", "", True),
        ("something\n", "", False),
    ],
)
def test_only_an_ellipsis_stands_for_other_text(printed: str, promised: str, holds: bool) -> None:
    assert matches(printed, promised) is holds
