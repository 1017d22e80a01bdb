"""With OpenBLAS or without, products are the same to rounding; after MLX is loaded nothing changes any more."""

from __future__ import annotations

import ctypes.util
import json
import sys

import mlx.core
import pytest

from mlxbuild.runtime.model.blas import prefer_openblas
from tests.runtime.model.test_architecture import fresh_python

PRODUCT = """
import json
from pathlib import Path
from mlxbuild.runtime.model.blas import prefer_openblas
used = prefer_openblas() if {wanted} else False
import mlx.core as mx
a, b = (mx.random.normal((40, 70), key=mx.random.key(n)) for n in (1, 2))
maps = Path("/proc/self/maps")
loaded = maps.exists() and "openblas" in maps.read_text()
print(json.dumps([used, loaded, (a @ b.T).tolist()]))
"""


def product(*, wanted: bool) -> tuple[bool, bool, list[list[float]]]:
    used, loaded, rows = json.loads(fresh_python(PRODUCT.format(wanted=wanted)))
    return used, loaded, rows


def test_products_are_the_same_to_rounding() -> None:
    used, loaded, fast = product(wanted=True)
    _, _, plain = product(wanted=False)
    assert used == loaded == (sys.platform == "linux" and ctypes.util.find_library("openblas") is not None)
    for one, other in zip(fast, plain, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS brings its own library")
@pytest.mark.parametrize("own", [None, "12"])
def test_its_threads_sleep_soon_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, own: str | None) -> None:
    name = "OPENBLAS_THREAD_TIMEOUT"
    monkeypatch.delenv(name, raising=False) if own is None else monkeypatch.setenv(name, own)
    told = fresh_python(
        f"import os; from mlxbuild.runtime.model.blas import *; prefer_openblas(); print(os.environ[{name!r}])"
    )
    assert told.strip() == (own or "20")


def test_after_mlx_is_loaded_nothing_changes() -> None:
    assert "mlx.core" in sys.modules
    assert mlx.core.add(1, 1).item() == 2
    assert prefer_openblas() is False
