"""`mlxbuild doctor` tells what decides speed here."""

from __future__ import annotations

import ctypes.util
import json
import sys

from tests.mlxbuild.conftest import CommandLine


def test_the_matrix_library_is_told(mlxbuild: CommandLine) -> None:
    found = {each["what"]: each["detail"] for each in json.loads(mlxbuild("doctor", "--json").out)}
    if "cpu" in found["mlx"]:
        has_openblas = sys.platform == "linux" and ctypes.util.find_library("openblas") is not None
        assert found["matrix library"].startswith("OpenBLAS") == has_openblas
