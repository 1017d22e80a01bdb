"""The compiled kernel gives the very bytes of `mx.quantize`, for any numbers, and a build does not show which ran."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.steps.block import NotFiniteWeights
from mlxbuild.toolchain.weights import affine, encoding
from mlxbuild.toolchain.weights.affine import Kernel, kernel_for, packed
from tests import real_parts
from tests.toolchain.weights.block_builds import INT4, BlockBuild, variant
from tests.toolchain.weights.tiny_models import write_model

BITS = st.sampled_from([2, 3, 4, 5, 6, 8])
GROUPS = st.sampled_from([32, 64, 128])
EXPONENT = 0x7F80


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    found = kernel_for(QuantizationScheme("affine", 4, 64), mx.bfloat16)
    if found is None:
        real_parts.missing("the compiled kernel", "`apt-get install gcc python3-dev`, then `make clean setup`")
    return found


@st.composite
def rows(draw: st.DrawFn) -> tuple[bytes, QuantizationScheme]:
    """Some groups of finite numbers of any size and sign, often alike; the difference of two is finite too."""
    scheme = QuantizationScheme("affine", draw(BITS), draw(GROUPS))
    exponents = st.integers(0, 0xFC) if draw(st.booleans()) else st.integers(0x70, 0x80)
    sign = st.sampled_from([0, 1 << 15])
    number = st.builds(lambda s, e, f: s | e << 7 | f, sign, exponents, st.integers(0, 127))
    few = draw(st.lists(number, min_size=1, max_size=6))
    count = scheme.group_size * draw(st.integers(1, 3))
    numbers = draw(st.lists(st.sampled_from(few) | number, min_size=count, max_size=count))
    return b"".join(value.to_bytes(2, "little") for value in numbers), scheme


@given(rows())
def test_it_gives_the_bytes_of_mlx(kernel: Kernel, case: tuple[bytes, QuantizationScheme]) -> None:
    data, scheme = case
    numbers = mx.array(memoryview(data)).view(mx.bfloat16).reshape(-1, scheme.group_size)
    expected = mx.quantize(numbers, scheme.group_size, scheme.bits, stream=mx.cpu)
    ours = packed(kernel, memoryview(data), scheme)
    assert ours is not None
    assert [bytes(part) for part in ours] == [bytes(memoryview(part.view(mx.uint8))) for part in expected]


@pytest.mark.parametrize("bad", [EXPONENT, EXPONENT | 0x8000, 0x7FFF, 0xFFFF, 0x7F81, 0xFF81])
@pytest.mark.parametrize("place", [0, 63, 64, 127])
def test_it_finds_what_is_not_finite(kernel: Kernel, bad: int, place: int) -> None:
    numbers = [0x3F80 + index for index in range(128)]
    scheme = QuantizationScheme("affine", 4, 64)
    good = b"".join(value.to_bytes(2, "little") for value in numbers)
    assert packed(kernel, memoryview(good), scheme) is not None
    numbers[place] = bad
    assert packed(kernel, memoryview(b"".join(v.to_bytes(2, "little") for v in numbers)), scheme) is None


@pytest.mark.parametrize(
    ("size", "group", "bits"), [(128, 48, 4), (128, 0, 4), (130, 64, 4), (127, 64, 4), (128, 64, 9), (128, 64, 0)]
)
def test_it_refuses_buffers_that_do_not_fit(kernel: Kernel, size: int, group: int, bits: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        kernel.quantize(bytes(size), group, bits, bytearray(32), bytearray(2), bytearray(2))


def test_it_is_for_bfloat16_and_affine_only() -> None:
    assert kernel_for(QuantizationScheme("affine", 4, 64), mx.float16) is None
    assert kernel_for(QuantizationScheme("affine", 4, 64), mx.float32) is None
    assert kernel_for(QuantizationScheme("mxfp4", 4, 32), mx.bfloat16) is None


def test_a_kernel_that_disagrees_is_not_used(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lying:
        def quantize(self, *arguments: object) -> bool:
            return True

    monkeypatch.setattr(affine.importlib, "import_module", lambda _: Lying())
    affine._agreeing_kernel.cache_clear()
    try:
        assert kernel_for(QuantizationScheme("affine", 4, 64), mx.bfloat16) is None
    finally:
        affine._agreeing_kernel.cache_clear()


@pytest.fixture(params=["kernel", "mlx"])
def either(request: pytest.FixtureRequest, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the kernel, and as on a machine without a compiler."""
    if request.param == "mlx":
        monkeypatch.setattr(encoding, "kernel_for", lambda *_: None)
    return str(request.param)


def test_a_block_is_the_same_with_and_without(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    used: list[int] = []
    monkeypatch.setattr(encoding, "packed", lambda *arguments: used.append(1) or packed(*arguments))
    with_kernel = BlockBuild(Store.open(Home(tmp_path / "one")), folder, variant(folder, INT4), slice_bytes=4096).run()
    assert used
    monkeypatch.setattr(encoding, "kernel_for", lambda *_: None)
    without = BlockBuild(Store.open(Home(tmp_path / "other")), folder, variant(folder, INT4)).run()
    assert with_kernel == without


def test_numbers_that_are_none_are_told_either_way(either: str, store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    file = next(folder.glob("*.safetensors"))
    tensors = dict(mx.load(str(file)))
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = mx.where(mx.arange(tensors[name].size).reshape(tensors[name].shape) == 77, mx.nan, tensors[name])
    tensors[name] = tensors[name].astype(mx.bfloat16)
    mx.save_safetensors(str(file), tensors)
    with pytest.raises(NotFiniteWeights, match=name):
        BlockBuild(store, folder, variant(folder, INT4)).run()
