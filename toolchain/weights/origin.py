"""Reads the numbers of a block from source files, slice by slice, decoding them if needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import mlx.core as mx

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import StepError
from mlxbuild.toolchain.weights.codes import NAN_CODES, broken_codes, holds
from mlxbuild.toolchain.weights.decoded import Accuracy, DecodedTensor, ModelTensor, stored_tensors, worst
from mlxbuild.toolchain.weights.dtypes import EXPONENT_BITS, MLX_DTYPES
from mlxbuild.toolchain.weights.encoding import NotFinite, as_bytes, check_finite
from mlxbuild.toolchain.weights.formats.decoding import LARGEST_LOSS, Decoded, RoundingError, as_matrix, decoder_of
from mlxbuild.toolchain.weights.reading import SourceFile, SourceTensor


class NotFiniteWeights(StepError):
    """Weights contain NaN or infinity."""

    code = "not-finite-weights"


class LossyScales(StepError):
    """Converting a tensor to MLX's form loses too much precision."""

    code = "lossy-scales"


_SCALES: Final = ("scales", "scale", "scale_inv")
_BYTES: Final = frozenset({"U8", "U32", "F8_E4M3", "F8_E8M0"})


class SourceTensors:
    """The open source files of a step; use it in a `with` statement, whose end checks that none has changed."""

    def __init__(self, locate: Callable[[Digest], Path], slice_bytes: int, took: Callable[[int], None]) -> None:
        """`took` is called with the size of each slice after it was processed; it may raise to stop."""
        self._locate = locate
        self._slice_bytes = slice_bytes
        self._took = took
        self._files: dict[Digest, SourceFile] = {}
        self._accuracy: dict[str, Accuracy] = {}
        self.errors: dict[str, float] = {}
        """Decoded tensor to its relative root mean square error, if there is one."""
        self._stack = ExitStack()

    def path(self, digest: Digest) -> Path:
        """The path of a source file, which from now on must not change."""
        return self._file(digest).path

    def pieces(self, tensor: ModelTensor) -> Iterator[memoryview]:
        """The tensor's unchanged bytes, slice by slice.

        Raises:
            NotFiniteWeights: a number is NaN or infinite.
        """
        if isinstance(tensor, DecodedTensor):
            for rows in self._decoded(tensor):
                try:
                    check_finite(rows)
                except NotFinite:
                    raise self.not_finite(tensor, overflowed=not _holds_nan(rows)) from None
                yield memoryview(as_bytes(rows))
            return
        for piece in self._slices(tensor):
            try:
                check_finite(_array(piece, tensor))
            except NotFinite:
                raise self.not_finite(tensor) from None
            yield piece

    def raw(self, tensor: ModelTensor) -> Iterator[memoryview]:
        """The bytes of slices of rows, unchecked; each is valid until the next one is requested."""
        if isinstance(tensor, DecodedTensor):
            return (memoryview(as_bytes(rows)) for rows in self._decoded(tensor))
        return self._slices(tensor)

    def rows(self, tensor: ModelTensor) -> Iterator[mx.array]:
        """The tensor in slices of rows, unchecked."""
        if isinstance(tensor, DecodedTensor):
            yield from self._decoded(tensor)
            return
        for piece in self._slices(tensor):
            yield _array(piece, tensor)

    def whole(self, tensor: ModelTensor) -> mx.array:
        """The whole tensor in memory, unchecked."""
        slices = list(self.rows(tensor))
        if not slices:
            return mx.zeros(tensor.shape, dtype=MLX_DTYPES[tensor.dtype])
        array = mx.concatenate(slices).reshape(tensor.shape)
        mx.eval(array)
        return array

    def accuracy(self, name: str) -> Accuracy | None:
        """The accuracy of a decoded tensor, according to the slices read so far; None for one that was not decoded."""
        return self._accuracy.get(name)

    def first_not_finite(self, tensors: Mapping[str, ModelTensor]) -> NotFiniteWeights | None:
        """Find the tensor that causes NaN or infinity in a computed parameter; None if there is none."""
        for tensor in tensors.values():
            if not self._is_finite(tensor):
                is_decoded = isinstance(tensor, DecodedTensor)
                return self.not_finite(tensor, overflowed=is_decoded and not any(map(_holds_nan, self.rows(tensor))))
        return None

    def first_broken(
        self, tensors: Mapping[str, ModelTensor], codes: frozenset[int], parameter: str, computes: mx.Dtype
    ) -> NotFiniteWeights | None:
        """Find the tensor that causes invalid bytes in a parameter: NaN, or too large for the compute dtype."""
        is_scale = parameter.endswith(_SCALES)
        for stored in stored_tensors(tensors.values()):
            if stored.name.endswith(_SCALES) == is_scale and stored.dtype in _BYTES and self._has(stored, codes):
                place = self._file(stored.file).path
                if self._has(stored, codes & NAN_CODES):
                    return _not_finite(stored.name, place)
                return too_large(stored.name, computes, str(place))
        return None

    def not_finite(self, tensor: ModelTensor, *, overflowed: bool = False) -> NotFiniteWeights:
        """The error for a tensor with NaN or infinity; `overflowed` if it has only infinity."""
        if isinstance(tensor, DecodedTensor):
            broken = [part for part in tensor.parts.values() if not self._is_finite(part)]
            if not broken and all(MLX_DTYPES[part.dtype] in EXPONENT_BITS for part in tensor.parts.values()):
                return NotFiniteWeights(
                    f"computing `{tensor.name}` gave NaN or infinity",
                    hint="is the adapter sound, and made for this base model?",
                )
            if not broken and overflowed:
                return too_large(tensor.name, MLX_DTYPES[tensor.dtype])
            name, stored = (broken[0].name, broken[0]) if broken else (tensor.name, next(iter(tensor.parts.values())))
        else:
            name, stored = tensor.name, tensor
        return _not_finite(name, self._file(stored.file).path)

    def _is_finite(self, tensor: ModelTensor) -> bool:
        if isinstance(tensor, SourceTensor) and (broken := broken_codes(tensor.dtype)):
            return not self._has(tensor, broken)
        try:
            for rows in self.rows(tensor):
                check_finite(rows)
        except NotFinite:
            return False
        return True

    def _has(self, tensor: SourceTensor, codes: frozenset[int]) -> bool:
        return any(holds(bytes(piece), codes) for piece in self._slices(tensor))

    def _slices(self, tensor: SourceTensor) -> Iterator[memoryview]:
        item_bytes = MLX_DTYPES[tensor.dtype].size
        row_bytes = item_bytes * (tensor.shape[-1] if len(tensor.shape) > 1 else 1)
        for piece in self._file(tensor.file).slices(tensor, row_bytes, self._slice_bytes):
            yield piece
            self._took(len(piece))

    def _decoded(self, tensor: DecodedTensor) -> Iterator[mx.array]:
        decode, parts = decoder_of(tensor.method), _Parts(self._file, tensor)
        rows, columns = as_matrix(tensor.shape)
        stored_bytes = sum(part.size_bytes for part in tensor.parts.values())
        # Decoders compute in 32 bits, and the data that a row is decoded from may be larger than the row.
        step = max(1, self._slice_bytes // max(1, 4 * columns, stored_bytes // max(rows, 1)))
        loss = RoundingError()
        for begin in range(0, rows if columns else 0, step):
            end = min(begin + step, rows)
            try:
                decoded = decode(tensor, parts, begin, end)
            except NotFinite:
                raise self.not_finite(tensor, overflowed=True) from None
            mx.eval(decoded.rows)
            self._check(tensor, decoded, (end - begin, columns))
            if decoded.accuracy is not None:
                known = self._accuracy.get(tensor.name, "exact")
                self._accuracy[tensor.name] = worst((known, decoded.accuracy))
            if decoded.loss is not None:
                loss = loss + decoded.loss
            yield decoded.rows
            self._took(stored_bytes * end // rows - stored_bytes * begin // rows)

        if loss.error:
            self.errors[tensor.name] = round(loss.relative, 5)
        if loss.relative > LARGEST_LOSS:
            raise LossyScales(
                f"folding the scale of the whole tensor into those of `{tensor.name}` costs {loss.relative:.1%} of it "
                f"(relative root mean square), and up to {LARGEST_LOSS:.0%} is taken",
                hint="set `quantization: bf16`, which decodes the numbers as they are, or another one such as mxfp4",
            )

    @staticmethod
    def _check(tensor: DecodedTensor, decoded: Decoded, shape: tuple[int, int]) -> None:
        given, wanted = (decoded.rows.dtype, decoded.rows.shape), (MLX_DTYPES[tensor.dtype], shape)
        if given != wanted:
            raise StepError(f"`{tensor.method}` decoded {given} for {wanted} of `{tensor.name}`", hint="this is a bug")

    def _file(self, digest: Digest) -> SourceFile:
        file = self._files.get(digest)
        if file is None:
            file = self._files[digest] = self._stack.enter_context(SourceFile(self._locate(digest)))
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)


def too_large(name: str, dtype: mx.Dtype, where: str | None = None) -> NotFiniteWeights:
    """The error for numbers, or their scales, that exceed a dtype."""
    what = str(dtype).rpartition(".")[2]
    is_scale = name.endswith(_SCALES)
    return NotFiniteWeights(
        f"`{name}` holds {'scales under which numbers are' if is_scale else 'numbers'} too large for {what}",
        where=where,
        hint="choose `dtype: bfloat16`, which has the range of float32"
        if dtype == mx.float16
        else "the source is damaged: get it again, or ask its publisher",
    )


def _holds_nan(rows: mx.array) -> bool:
    return bool(mx.any(mx.isnan(rows)).item())


def _not_finite(name: str, file: Path) -> NotFiniteWeights:
    return NotFiniteWeights(
        f"`{name}` holds NaN or infinity",
        where=str(file),
        hint="the source is damaged: get it again, or ask its publisher",
    )


def _array(piece: memoryview, tensor: SourceTensor) -> mx.array:
    """A copy of some rows, of shape (rows, columns)."""
    columns = tensor.shape[-1] if len(tensor.shape) > 1 else 1
    raw: Any = piece
    return mx.array(raw).view(MLX_DTYPES[tensor.dtype]).reshape(-1, columns)


class _Parts:
    """See `toolchain.weights.formats.decoding.Parts`."""

    def __init__(self, file: Callable[[Digest], SourceFile], tensor: DecodedTensor) -> None:
        self._file = file
        self._tensor = tensor

    def rows(self, part: str, begin: int, end: int) -> mx.array:
        stored, dtype, (rows, columns) = self._part(part)
        self._require(part, end <= rows)
        row_bytes = columns * dtype.size
        data: Any = self._file(stored.file).read(stored.begin + begin * row_bytes, (end - begin) * row_bytes)
        return mx.array(data).view(dtype).reshape(end - begin, columns)

    def columns(self, part: str, begin: int, end: int) -> mx.array:
        stored, dtype, (rows, columns) = self._part(part)
        self._require(part, end <= columns)
        offset = stored.begin + begin * dtype.size
        width_bytes = (end - begin) * dtype.size
        stride_bytes = columns * dtype.size
        data: Any = self._file(stored.file).read(offset, width_bytes, pieces=rows, stride_bytes=stride_bytes)
        return mx.array(data).view(dtype).reshape(rows, end - begin)

    def whole(self, part: str) -> mx.array:
        stored, _, (rows, _) = self._part(part)
        return self.rows(part, 0, rows).reshape(stored.shape)

    def _require(self, part: str, inside: bool) -> None:
        """Check bounds, because the bytes beyond a part belong to other tensors."""
        if not inside:
            stored = self._tensor.parts[part]
            raise StepError(f"`{stored.name}` is too small for `{self._tensor.name}`: {list(stored.shape)}")

    def _part(self, part: str) -> tuple[SourceTensor, Any, tuple[int, int]]:
        stored = self._tensor.parts[part]
        return stored, MLX_DTYPES[stored.dtype], as_matrix(stored.shape)
