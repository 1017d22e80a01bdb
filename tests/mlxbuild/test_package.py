"""What a wheel holds, built from a source distribution as publishers do: `mlxbuild` alone, and all of it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = ("mlxbuild", "registry", "runtime", "toolchain")


def tracked() -> list[Path]:
    """The files of this checkout, links as such."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Of a copy of the checkout, without what was built there."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        copied = checkout / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            copied.symlink_to((ROOT / name).readlink())
        else:
            copied.write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "build", "--outdir", "built", "."], cwd=checkout, check=True)
    return zipfile.ZipFile(next((checkout / "built").glob("*.whl")))


def test_nothing_but_mlxbuild_is_installed(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mlxbuild"}


def test_every_module_and_data_file_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    wanted = set()  # but sources in C, and the examples of the recipe's schema
    for file in tracked():
        if file.parts[0] in FLOORS and file.suffix not in (".c", ".yaml") and not (ROOT / file).is_symlink():
            wanted.add(str(file if file.parts[0] == "mlxbuild" else "mlxbuild" / file))
    held = {name for name in wheel.namelist() if name.startswith("mlxbuild/")}
    assert {name for name in held if not name.endswith(".so")} == wanted
    assert [name for name in held if name.endswith(".so")] == ["mlxbuild/toolchain/weights/affine_kernel.abi3.so"]


def test_the_registry_alone_loads_neither_mlx_nor_a_server() -> None:
    program = """
import importlib, pkgutil, sys
import mlxbuild.registry
for module in pkgutil.walk_packages(mlxbuild.registry.__path__, "mlxbuild.registry."):
    importlib.import_module(module.name)
print(*{name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "mlxbuild" in loaded
    assert not loaded & {"mlx", "mlx_lm", "sanic", "transformers", "registry", "runtime", "toolchain"}
