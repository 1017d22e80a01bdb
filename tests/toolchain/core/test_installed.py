"""Versions that are read off folders are those that the metadata in them says."""

from importlib.metadata import PackageNotFoundError, distributions

import pytest

from mlxbuild.toolchain.core.installed import installed_version
from mlxbuild.toolchain.core.steps import STEPS


def test_versions_are_those_of_the_metadata() -> None:
    said = {distribution.name: distribution.version for distribution in distributions()}
    assert {name: installed_version(name) for name in said} == said


def test_tools_of_steps_are_found_however_their_names_are_written() -> None:
    for kind in STEPS.values():
        for tool in kind.tools:
            assert installed_version(tool) == installed_version(tool.replace("-", "_").upper())


def test_what_is_not_installed_has_no_version() -> None:
    with pytest.raises(PackageNotFoundError):
        installed_version("mlxbuild-nothing-of-that-name")
