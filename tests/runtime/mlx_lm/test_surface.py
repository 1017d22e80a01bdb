"""The names of mlx-lm that are used are all there, and one that is not is told by its name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlxbuild.runtime.mlx_lm.package import package_folder
from mlxbuild.runtime.mlx_lm.surface import SURFACE, missing

_TOLD = "from mlxbuild.runtime.mlx_lm.surface import missing; print(*missing())"
_LOADED = "from mlxbuild.runtime.mlx_lm.package import utils; utils()"


def test_the_installed_release_has_all_names() -> None:
    assert missing() == ()


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A copy of mlx-lm, to be changed."""
    shutil.copytree(package_folder(), tmp_path / "mlx_lm", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_names_that_moved_are_told(other: Path) -> None:
    for module, names in SURFACE.items():
        file = (other / "mlx_lm").joinpath(*module.split(".")).with_suffix(".py")
        file.write_text(re.sub(rf"\b{names[0]}\b", f"{names[0]}_of_old", file.read_text()))
    done = run(other, _TOLD)
    assert done.stdout.split() == [f"{module}.{names[0]}" for module, names in SURFACE.items()], done.stderr


@pytest.mark.parametrize("statement", ["from .new_place import LIMIT", "if True:\n    LIMIT = 7"])
def test_what_loading_needs_and_is_left_out_is_an_error_at_once(other: Path, statement: str) -> None:
    file = other / "mlx_lm" / "utils.py"
    begin = "def get_total_parameters(model):\n"
    text = file.read_text()
    assert begin in text
    file.write_text(text.replace(begin, f"{begin}    LIMIT\n", 1) + f"\n{statement}\n")
    (other / "mlx_lm" / "new_place.py").write_text("LIMIT = 7\n")
    done = run(other, _LOADED)
    assert done.returncode == 1
    assert "MlxLmNotSupported: mlx_lm.utils.get_total_parameters needs `LIMIT`" in done.stderr
