"""Differences of tensors against what MLX computes with whole tensors in memory."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxbuild.runtime.model.threads import leave_streams_in_order
from mlxbuild.toolchain.difference import tensors
from mlxbuild.toolchain.difference.tensors import TensorDifference, compare, tensors_of
from mlxbuild.toolchain.weights.safetensors import UnsafeWeights

SCHEMES = [
    ("affine", 3, 64),
    ("affine", 4, 32),
    ("affine", 6, 64),
    ("affine", 8, 64),
    ("mxfp4", 4, 32),
    ("mxfp8", 8, 32),
]


@pytest.fixture(autouse=True)
def on_the_cpu() -> object:
    leave_streams_in_order()
    with mx.stream(mx.cpu):
        yield


def write(folder: Path, name: str, arrays: dict[str, mx.array]) -> dict[str, Path]:
    path = folder / f"{name}.safetensors"
    mx.save_safetensors(str(path), arrays)
    return {path.name: path}


def differences(
    folder: Path,
    one: dict[str, mx.array],
    other: dict[str, mx.array],
    schemes: tuple[dict[str, object] | None, dict[str, object] | None] = (None, None),
) -> dict[str, TensorDifference]:
    before = tensors_of(write(folder, "one", one), schemes[0])
    after = tensors_of(write(folder, "other", other), schemes[1])
    return {it.name: it for it in compare(before, after)}


def quantized(weight: mx.array, mode: str, bits: int, group_size: int) -> tuple[dict[str, mx.array], mx.array]:
    """What is stored, and what it means."""
    parts = mx.quantize(weight, group_size=group_size, bits=bits, mode=mode)
    names = ("m.weight", "m.scales", "m.biases")
    whole = mx.dequantize(*parts, group_size=group_size, bits=bits, mode=mode)
    return dict(zip(names, parts, strict=False)), whole.astype(mx.float32)


def scheme(mode: str, bits: int, group_size: int) -> dict[str, object]:
    return {"mode": mode, "bits": bits, "group_size": group_size}


def test_equal_tensors_do_not_differ(tmp_path: Path) -> None:
    arrays = {"a": mx.random.normal((3, 4)), "b": mx.arange(5)}
    assert differences(tmp_path, arrays, arrays) == {}


def test_what_is_only_on_one_side_is_told(tmp_path: Path) -> None:
    found = differences(tmp_path, {"a": mx.zeros(1), "b": mx.zeros(1)}, {"b": mx.zeros(1), "c": mx.zeros(2)})
    assert {name: it.kind for name, it in found.items()} == {"a": "removed", "c": "added"}


def test_another_shape_is_told_and_not_compared(tmp_path: Path) -> None:
    (it,) = differences(tmp_path, {"a": mx.zeros((2, 3))}, {"a": mx.zeros((3, 2))}).values()
    assert (it.kind, it.largest) == ("shape", None)


@pytest.mark.parametrize(
    "dtype", [mx.float32, mx.float16, mx.bfloat16, mx.int8, mx.uint8, mx.int32, mx.int64, mx.bool_]
)
def test_the_largest_difference_is_found_in_every_dtype(tmp_path: Path, dtype: mx.Dtype) -> None:
    one = mx.zeros((300, 7), dtype=dtype)
    other = mx.zeros((300, 7), dtype=dtype)
    other[200, 3] = 1
    (it,) = differences(tmp_path, {"a": one}, {"a": other}).values()
    assert (it.kind, it.largest) == ("values", 1.0)


def test_large_whole_numbers_are_told_apart(tmp_path: Path) -> None:
    one, other = mx.array([2**53 - 2], mx.int64), mx.array([2**53 - 1], mx.int64)
    (it,) = differences(tmp_path, {"a": one}, {"a": other}).values()
    assert it.largest == 1.0


def test_another_dtype_is_told_even_with_the_same_values(tmp_path: Path) -> None:
    (it,) = differences(tmp_path, {"a": mx.ones((4, 4), mx.float32)}, {"a": mx.ones((4, 4), mx.bfloat16)}).values()
    assert (it.kind, it.largest) == ("precision", 0.0)


@pytest.mark.parametrize(
    ("one", "other", "largest"),
    [
        ([math.inf, 1.0], [math.inf, 3.0], 2.0),
        ([math.nan, 1.0], [math.nan, 3.0], 2.0),
        ([math.inf], [1.0], math.inf),
    ],
)
def test_infinities_and_nan_compare_as_themselves(
    tmp_path: Path, one: list[float], other: list[float], largest: float
) -> None:
    (it,) = differences(tmp_path, {"a": mx.array(one)}, {"a": mx.array(other)}).values()
    assert it.largest == largest


def test_a_new_nan_is_told(tmp_path: Path) -> None:
    (it,) = differences(tmp_path, {"a": mx.array([0.0, 1.0])}, {"a": mx.array([9.0, math.nan])}).values()
    assert it.largest is not None
    assert math.isnan(it.largest)
    assert it.to_json()["largest_difference"] == "nan"


@pytest.mark.parametrize("form", SCHEMES, ids=str)
@pytest.mark.parametrize("slice_bytes", [1, 4096, 1 << 22])
def test_quantized_weights_are_compared_as_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: tuple[str, int, int], slice_bytes: int
) -> None:
    monkeypatch.setattr(tensors, "SLICE_BYTES", slice_bytes)
    weight = mx.random.normal((2, 24, 192), key=mx.random.key(1)).astype(mx.bfloat16)
    stored, whole = quantized(weight, *form)
    (it,) = differences(tmp_path, {"m.weight": weight}, stored, (None, scheme(*form))).values()
    assert (it.kind, it.name) == ("precision", "m.weight")
    assert it.largest == mx.max(mx.abs(weight.astype(mx.float32) - whole)).item()
    assert it.after is not None
    assert it.after.shape == (2, 24, 192)
    assert str(it.after.scheme) == f"{form[0]} {form[1]} bits by {form[2]}"


def test_two_schemes_are_compared_by_what_they_mean(tmp_path: Path) -> None:
    weight = mx.random.normal((64, 128), key=mx.random.key(2))
    (one, whole), (other, also) = quantized(weight, "affine", 4, 64), quantized(weight, "affine", 8, 32)
    schemes = (scheme("affine", 4, 64), {**scheme("affine", 4, 64), "m": scheme("affine", 8, 32)})
    (it,) = differences(tmp_path, one, other, schemes).values()
    assert it.largest == mx.max(mx.abs(whole - also)).item() > 0
    assert it.to_json()["before"]["bits"] == 4
    assert it.to_json()["after"]["bits"] == 8


def test_one_changed_scale_is_a_difference_of_values(tmp_path: Path) -> None:
    stored, whole = quantized(mx.random.normal((64, 128), key=mx.random.key(3)), "affine", 4, 64)
    changed = {**stored, "m.scales": stored["m.scales"] * 2}
    also = mx.dequantize(*changed.values(), group_size=64, bits=4).astype(mx.float32)
    form = scheme("affine", 4, 64)
    (it,) = differences(tmp_path, stored, changed, (form, form)).values()
    assert (it.kind, it.largest) == ("values", mx.max(mx.abs(whole - also)).item())


@given(
    rows=st.integers(0, 40),
    columns=st.integers(0, 9),
    at=st.integers(0, 10_000),
    by=st.floats(0.5, 100, width=16),
)
@settings(max_examples=40, deadline=None)
def test_any_single_change_is_found(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, at: int, by: float
) -> None:
    leave_streams_in_order()
    with mx.stream(mx.cpu):
        one = mx.zeros((rows, columns))
        other = mx.zeros((rows * columns,))
        if rows * columns:
            other[at % (rows * columns)] = by
        other = other.reshape(rows, columns)
        found = differences(tmp_path_factory.mktemp("change"), {"a": one}, {"a": other})
    assert [it.largest for it in found.values()] == ([by] if rows * columns else [])


def test_numbers_without_a_dimension_are_compared(tmp_path: Path) -> None:
    (it,) = differences(tmp_path, {"a": mx.array(1.5)}, {"a": mx.array(1.0)}).values()
    assert it.largest == 0.5


def test_memory_stays_bounded(tmp_path: Path) -> None:
    one = {"a": mx.zeros((4096, 2048), mx.bfloat16)}
    other = {"a": mx.ones((4096, 2048), mx.bfloat16)}
    before, after = tensors_of(write(tmp_path, "one", one), None), tensors_of(write(tmp_path, "other", other), None)
    del one, other
    mx.clear_cache()
    mx.reset_peak_memory()
    held = mx.get_active_memory()
    tracemalloc.start()
    (it,) = compare(before, after)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert it.largest == 1.0
    assert peak < 3 * tensors.SLICE_BYTES
    assert mx.get_peak_memory() - held < 10 * tensors.SLICE_BYTES


def test_damaged_weights_are_told(tmp_path: Path) -> None:
    files = write(tmp_path, "one", {"a": mx.zeros(9)})
    path = files["one.safetensors"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UnsafeWeights):
        tensors_of(files, None)
