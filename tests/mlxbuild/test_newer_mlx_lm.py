"""A newer mlx-lm builds anew what its changes concern, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlxbuild.runtime.mlx_lm.package import package_folder
from tests.mlxbuild.conftest import CommandLine


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A folder for PYTHONPATH with a later release, in which the server was changed, and Qwen3."""
    installed = package_folder()
    folder = tmp_path / "newer"
    shutil.copytree(installed, folder / "mlx_lm", ignore=shutil.ignore_patterns("__pycache__"))
    (described,) = installed.parent.glob("mlx_lm-*.dist-info")
    shutil.copytree(described, folder / "mlx_lm-99.0.dist-info")
    metadata = folder / "mlx_lm-99.0.dist-info" / "METADATA"
    version = described.name.removeprefix("mlx_lm-").removesuffix(".dist-info")
    metadata.write_text(metadata.read_text().replace(f"\nVersion: {version}\n", "\nVersion: 99.0\n"))
    _change(folder / "mlx_lm" / "server.py")
    _change(folder / "mlx_lm" / "models" / "qwen3.py")
    return folder


def _change(file: Path) -> None:
    file.write_text(file.read_text() + "\n# changed\n")


def test_a_release_is_a_hit_as_far_as_its_code_is_the_same(mlxbuild: CommandLine, newer: Path) -> None:
    environment = {"PYTHONPATH": str(newer)}
    assert mlxbuild("create").code == 0
    assert "99.0" in mlxbuild("version", env=environment).out
    done = mlxbuild("create", "--expect-cached", env=environment)
    assert done.code == 0, done.err

    _change(newer / "mlx_lm" / "models" / "base.py")  # which the architecture imports
    done = mlxbuild("create", env=environment)
    assert done.code == 0, done.err
    ran = [line for line in done.err.splitlines() if line.startswith("run ")]
    assert any("tiny:int4/quantize/000" in line and "mlx-lm" in line for line in ran), done.err
    assert not any("/pack" in line for line in ran), "blocks came out alike"
