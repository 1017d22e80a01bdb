"""What is made of a GGUF file's blocks means the numbers that the `gguf` package reads there: the difference is 0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.core.lock import LockedTensor
from mlxbuild.toolchain.sources.gguf.header import read_gguf_file_header
from mlxbuild.toolchain.spec.resolved import KEEP, Quantization
from mlxbuild.toolchain.weights.decoded import DecodedTensor
from mlxbuild.toolchain.weights.device import cpu_device
from mlxbuild.toolchain.weights.formats.gguf import UnreadableBlocks
from mlxbuild.toolchain.weights.formats.gguf_blocks import EXACT
from mlxbuild.toolchain.weights.formats.gguf_layout import FORMS, PLAIN, ROUNDED, UnsuitableGguf, gguf_layout
from mlxbuild.toolchain.weights.origin import SourceTensors
from tests.toolchain.weights.block_builds import INT8, NONE, variant
from tests.toolchain.weights.formats.gguf_blocks_of_chance import blocks, numbers, write

FILE = Digest.of_bytes(b"model.gguf")
MODULE = "model.layers.0.self_attn.q_proj"
ROWS, COLUMNS, HEADS = 24, 512, 3
READABLE = sorted(ROUNDED - {"IQ1_M", "NVFP4"})
"""Whose random bytes are numbers."""


def locked(path: Path, **changes: Any) -> LockedTensor:
    (tensor,) = read_gguf_file_header(path).tensors
    row = LockedTensor(f"{MODULE}.weight", tensor.type, tensor.shape, path.name, tensor.begin, tensor.size_bytes)
    return replace(row, **changes)


class Decoding:
    """One tensor's layout, decoded in slices."""

    def __init__(
        self,
        path: Path,
        quantization: Quantization,
        slice_bytes: int = 1 << 12,
        dtype: str | None = None,
        **changes: Any,
    ) -> None:
        row = locked(path, **changes)
        spec = variant(path.parent, quantization, dtype=dtype)
        layout = gguf_layout(spec, [row], {path.name: FILE}, {"model_type": "llama"})
        self.config = dict(layout.config or {})
        self.tensors: dict[str, DecodedTensor] = {}
        self.arrays: dict[str, mx.array] = {}
        self.accuracy: set[str | None] = set()
        with cpu_device(), SourceTensors(lambda _: path, slice_bytes, lambda _: None) as sources:
            for tensor in layout.tensors:
                assert isinstance(tensor, DecodedTensor)
                self.arrays[tensor.name.removeprefix(f"{MODULE}.")] = sources.whole(tensor)
                self.accuracy.add(sources.accuracy(tensor.name))

    def numbers(self) -> Any:
        """What MLX makes of the quantized form, in float32."""
        scheme = self.config["quantization"]
        affine = scheme["mode"] == "affine"
        parts = [self.arrays[leaf] for leaf in (("scales", "biases") if affine else ("scales",))]
        wide = [part.astype(mx.float32) for part in parts] if affine else parts
        with cpu_device():
            array = mx.dequantize(self.arrays["weight"], *wide, **scheme)
        return np.array(array.astype(mx.float32))


KEPT = Quantization(KEEP, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("kind", [*EXACT, "MXFP4"])
@pytest.mark.parametrize("slice_bytes", [1, 1 << 13, 1 << 20])
def test_blocks_that_map_are_kept_exactly(kind: str, slice_bytes: int, path: Path) -> None:
    data = blocks(kind, ROWS, COLUMNS)
    kept = Decoding(write(path, {"a": (kind, data)}), KEPT, slice_bytes)
    assert np.abs(kept.numbers() - numbers(kind, data)).max() == 0
    assert kept.accuracy == {"exact"}
    assert (
        str(kept.arrays["scales"].dtype)
        == {"F16": "mlx.core.float16", "F32": "mlx.core.float32", "U8": "mlx.core.uint8"}[FORMS[kind].scales]
    )


@pytest.mark.parametrize("kind", [*EXACT, "Q6_K"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_scales_and_biases_are_chosen_together(kind: str, dtype: str, path: Path) -> None:
    data = blocks(kind, ROWS, COLUMNS)
    meant = numbers(kind, data)
    write(path, {"a": (kind, data)})
    kept, narrow = Decoding(path, KEPT), Decoding(path, KEPT, dtype=dtype)
    assert str(narrow.arrays["scales"].dtype) == str(narrow.arrays["biases"].dtype) == f"mlx.core.{dtype}"
    if FORMS[kind].scales == "F16" and dtype == "float16":
        assert mx.array_equal(narrow.numbers(), kept.numbers())
        assert narrow.accuracy == kept.accuracy
        return
    assert narrow.accuracy <= {"near", "exact"}
    apart = np.array(
        mx.dequantize(
            kept.arrays["weight"],
            *(kept.arrays[leaf].astype(getattr(mx, dtype)).astype(mx.float32) for leaf in ("scales", "biases")),
            **kept.config["quantization"],
        )
    )
    together = narrow.numbers()
    assert np.linalg.norm(together - meant) <= np.linalg.norm(apart - meant)
    assert np.linalg.norm(together - meant) < {"float16": 6e-4, "bfloat16": 6e-3}[dtype] * np.linalg.norm(meant)


def test_a_type_with_finer_groups_is_near(path: Path) -> None:
    data = blocks("Q6_K", ROWS, COLUMNS)
    kept = Decoding(write(path, {"a": ("Q6_K", data)}), KEPT)
    exact = numbers("Q6_K", data)
    assert kept.accuracy == {"near"}
    assert kept.config["quantization"] == {"mode": "affine", "bits": 8, "group_size": 32}
    assert 0 < np.linalg.norm(kept.numbers() - exact) / np.linalg.norm(exact) < 0.006


@pytest.mark.parametrize("kind", [*EXACT, *PLAIN, "MXFP4", "Q6_K", *READABLE])
def test_every_type_is_read_as_numbers_for_another_quantization(kind: str, path: Path) -> None:
    data = blocks(kind, ROWS, COLUMNS)
    dense = Decoding(write(path, {"a": (kind, data)}), INT8)
    assert np.array_equal(np.array(dense.arrays["weight"].astype(mx.float32)), numbers(kind, data))
    assert "quantization" not in dense.config


@pytest.mark.parametrize("kind", sorted(ROUNDED))
def test_types_without_a_form_in_mlx_are_not_kept(kind: str, path: Path) -> None:
    write(path, {"a": (kind, blocks(kind, 1, COLUMNS))})
    with pytest.raises(UnsuitableGguf, match=f"is of type {kind}, for which MLX has no form"):
        Decoding(path, KEPT)


def test_integers_are_no_weights(path: Path) -> None:
    write(path, {"a": ("I32", np.zeros((2, 4), np.int32))})
    with pytest.raises(UnsuitableGguf, match="is of type I32, which is not a type of weights"):
        Decoding(path, NONE)


@pytest.mark.parametrize("kind", ["F32", "Q4_K", "Q6_K", "MXFP4"])
@pytest.mark.parametrize("slice_bytes", [1, 3000, 1 << 20])
def test_interleaved_rows_of_heads_are_put_back(kind: str, slice_bytes: int, path: Path) -> None:
    data = blocks(kind, ROWS, COLUMNS)
    write(path, {"a": (kind, data)})
    pairs = ROWS // HEADS // 2
    apart = numbers(kind, data).reshape(HEADS, pairs, 2, COLUMNS).swapaxes(1, 2).reshape(ROWS, COLUMNS)
    dense = Decoding(path, NONE, slice_bytes, permuted_heads=HEADS)
    assert np.array_equal(np.array(dense.arrays["weight"].astype(mx.float32)), apart)
    if kind != "F32":
        kept = Decoding(path, KEPT, slice_bytes, permuted_heads=HEADS)
        plain = Decoding(path, KEPT, slice_bytes)
        together = plain.numbers().reshape(HEADS, pairs, 2, COLUMNS).swapaxes(1, 2).reshape(ROWS, COLUMNS)
        assert np.array_equal(kept.numbers(), together)


def test_a_bias_of_heads_is_put_back_like_their_rows(path: Path) -> None:
    data = blocks("F32", ROWS, 1)
    dense = Decoding(write(path, {"a": ("F32", data)}), KEPT, name=f"{MODULE}.bias", permuted_heads=HEADS)
    apart = data.view(np.float32).reshape(HEADS, -1, 2).swapaxes(1, 2).reshape(ROWS)
    assert np.array_equal(np.array(dense.arrays["bias"]), apart)


def test_what_was_added_to_norms_is_subtracted(path: Path) -> None:
    data = (1 + blocks("F32", ROWS, 1).view(np.float32)).view(np.uint8)
    dense = Decoding(write(path, {"a": ("F32", data)}), KEPT, offset=1.0)
    assert np.array_equal(np.array(dense.arrays["weight"]), data.view(np.float32)[:, 0] - 1)


def test_stacked_experts_stay_stacked(path: Path) -> None:
    data = blocks("Q5_K", 4 * ROWS, COLUMNS)
    write(path, {"a": ("Q5_K", data.reshape(4, ROWS, -1))})
    kept = Decoding(path, KEPT)
    assert kept.arrays["weight"].shape == (4, ROWS, COLUMNS * 5 // 32)
    assert np.array_equal(kept.numbers(), numbers("Q5_K", data).reshape(4, ROWS, COLUMNS))


def test_scales_that_no_weights_have_are_refused(path: Path) -> None:
    data = blocks("Q8_0", ROWS, COLUMNS)
    data[:, 0:2] = np.array([600], np.float16).view(np.uint8)  # times 128 is beyond float16
    with pytest.raises(UnreadableBlocks, match=r"q_proj\.biases` holds a scale that is not a number, or is beyond"):
        Decoding(write(path, {"a": ("Q8_0", data)}), KEPT)
    data = blocks("MXFP4", ROWS, COLUMNS)
    data[3, 0] = 255
    with pytest.raises(UnreadableBlocks, match=r"q_proj\.scales` holds a scale that is not a number"):
        Decoding(write(path, {"a": ("MXFP4", data)}), KEPT)
