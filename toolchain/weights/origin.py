"""Where a block's numbers come from: slices of source files, or arrays computed from them. Encoding lives elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mlx.core as mx

from registry.digest import Digest
from registry.errors import StepError
from toolchain.weights.dtypes import MLX_DTYPES
from toolchain.weights.encoding import NotFinite, check_finite
from toolchain.weights.reading import SourceFile, SourceTensor


class NotFiniteWeights(StepError):
    """Weights hold NaN or infinity."""

    code = "not-finite-weights"


class SourceTensors:
    """Open source files of one step; use it in a `with` statement, whose end checks that none has changed."""

    def __init__(self, locate: Callable[[Digest], Path], slice_bytes: int, took: Callable[[int], None]) -> None:
        """`took` is called with the size of each slice that was dealt with; it may raise to stop."""
        self._locate = locate
        self._slice_bytes = slice_bytes
        self._took = took
        self._files: dict[Digest, SourceFile] = {}
        self._stack = ExitStack()

    def path(self, digest: Digest) -> Path:
        """Where a source file lies; from now on it must not change."""
        return self._file(digest).path

    def pieces(self, tensor: SourceTensor) -> Iterator[memoryview]:
        """The tensor's bytes unchanged, slice by slice.

        Raises:
            NotFiniteWeights: a number is NaN or infinite.
        """
        for piece in self._slices(tensor):
            try:
                check_finite(_array(piece, tensor))
            except NotFinite:
                raise self.not_finite(tensor) from None
            yield piece

    def raw(self, tensor: SourceTensor) -> Iterator[memoryview]:
        """The bytes of slices of rows, unchecked; each is only good until the next one is asked for."""
        return self._slices(tensor)

    def rows(self, tensor: SourceTensor) -> Iterator[mx.array]:
        """The tensor as slices of rows, unchecked."""
        for piece in self._slices(tensor):
            yield _array(piece, tensor)

    def whole(self, tensor: SourceTensor) -> mx.array:
        """The whole tensor in memory, unchecked."""
        slices = list(self.rows(tensor))
        if not slices:
            return mx.zeros(tensor.shape, dtype=MLX_DTYPES[tensor.dtype])
        array = mx.concatenate(slices).reshape(tensor.shape)
        mx.eval(array)
        return array

    def first_not_finite(self, tensors: Mapping[str, SourceTensor]) -> NotFiniteWeights | None:
        """Look for the tensor that is to blame for a computed NaN."""
        for tensor in tensors.values():
            try:
                for slice_ in self.rows(tensor):
                    check_finite(slice_)
            except NotFinite:
                return self.not_finite(tensor)
        return None

    def not_finite(self, tensor: SourceTensor) -> NotFiniteWeights:
        """The error for a tensor that holds NaN or infinity."""
        return NotFiniteWeights(
            f"`{tensor.name}` holds NaN or infinity",
            where=str(self._file(tensor.file).path),
            hint="the source model is damaged: get it again, or ask its publisher",
        )

    def _slices(self, tensor: SourceTensor) -> Iterator[memoryview]:
        item_bytes = MLX_DTYPES[tensor.dtype].size
        row_bytes = item_bytes * (tensor.shape[-1] if len(tensor.shape) > 1 else 1)
        for piece in self._file(tensor.file).slices(tensor, row_bytes, self._slice_bytes):
            yield piece
            self._took(len(piece))

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


def _array(piece: memoryview, tensor: SourceTensor) -> mx.array:
    """A copy of some rows, of shape (rows, columns)."""
    columns = tensor.shape[-1] if len(tensor.shape) > 1 else 1
    raw: Any = piece
    return mx.array(raw).view(MLX_DTYPES[tensor.dtype]).reshape(-1, columns)
