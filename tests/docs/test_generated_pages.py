"""The pages that are generated from the code are those that are committed."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from sanic.exceptions import BadRequest, MethodNotAllowed, NotFound

from mlxbuild.cli.program import COMMANDS
from mlxbuild.runtime.engine.core.options import _RANGES
from mlxbuild.runtime.server import failures

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


SCRIPTS = [_script(f"generate_{name}") for name in ("commands", "completions", "errors", "texts")]
generate_commands, _, generate_errors, _ = SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.__name__))
def test_the_committed_page_is_the_generated_one(script: ModuleType) -> None:
    committed = script.PAGE.read_text(encoding="utf-8")
    assert committed == script.page(), f"write it anew with `python docs/{script.__name__}.py`"


def test_every_command_and_option_is_on_the_page() -> None:
    page = generate_commands.page()
    for command in COMMANDS:
        assert f"## {command}" in page
    assert "`--expect-cached`" in page
    assert "--shuffle" not in page, "hidden options are for tests"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples(command: str) -> None:
    below = generate_commands.page().split(f"\n## {command}")[1:]
    assert all(section.partition("\n## ")[0].count("Examples:\n\n```text\nmlxbuild ") == 1 for section in below)


def test_every_error_code_is_on_the_page_with_its_exit_code() -> None:
    page = generate_errors.page()
    classes = generate_errors.error_classes()
    assert len(classes) > 50
    for error in classes:
        assert f"| `{error.code}` | {error.exit_code} |" in page


def test_every_code_that_a_server_answers_is_on_the_page() -> None:
    page = generate_errors.page()
    others = (NotFound(), MethodNotAllowed("no", "GET", ["POST"]), asyncio.CancelledError(), BadRequest(), ValueError())
    codes = {failures.failure_of(error).code for error in others} | set(failures._STATUS_OF_CODE)
    assert not {code for code in codes if f"`{code}`" not in page}


@pytest.mark.parametrize("option", _RANGES)
def test_the_range_of_every_option_is_told(option: str) -> None:
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{option}` |"))
    assert f"| {_RANGES[option]} |" in row
