"""A model that goes into a GGUF file and comes back by what is derived of its header is the same model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
import pytest

from mlxbuild.toolchain.sources.gguf.derive import derive
from mlxbuild.toolchain.sources.gguf.derived import DerivedModel, Placement
from mlxbuild.toolchain.sources.gguf.header import read_gguf_file_header
from mlxbuild.toolchain.sources.gguf.tensor_names import factor_tensors
from mlxbuild.toolchain.weights.model import make_model, sanitized
from tests.toolchain.sources.gguf.written_models import CONFIGURATIONS, random_model, write_gguf

TOKENS = [[3, 17, 5, 9, 30, 11, 4, 22, 8, 8, 31, 19, 6, 28, 12, 7, 25, 14, 10, 33]]


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_logits_survive(case: str, tmp_path: Path) -> None:
    architecture, config = CONFIGURATIONS[case]
    model = random_model(config)
    path = write_gguf(tmp_path / "model.gguf", architecture, config, model)
    derived, tensors = read_back(path)
    told = json.loads(derived.documents["config.json"])
    assert {key: told[key] for key in config} == config
    again = make_model(told)
    again.load_weights(list(sanitized(again, placed(derived, tensors)).items()), strict=True)
    assert mx.array_equal(again(mx.array(TOKENS)), model(mx.array(TOKENS)))


def test_the_permutation_matters(tmp_path: Path) -> None:
    architecture, config = CONFIGURATIONS["llama"]
    model = random_model(config)
    derived, tensors = read_back(write_gguf(tmp_path / "model.gguf", architecture, config, model))
    rows = tensors["blk.0.attn_q.weight"]
    assert not np.array_equal(rows, undone(rows, derived.placements["blk.0.attn_q.weight"]))


def read_back(path: Path) -> tuple[DerivedModel, Mapping[str, np.ndarray[Any, Any]]]:
    header = read_gguf_file_header(path)
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    factors: dict[str, Sequence[float]] = {name: tensors[name].tolist() for name in factor_tensors(header)}
    return derive(header, str(path), factors=factors), tensors


def placed(derived: DerivedModel, tensors: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, mx.array]:
    return {place.name: mx.array(undone(tensors[name], place)) for name, place in derived.placements.items()}


def undone(numbers: np.ndarray[Any, Any], place: Placement) -> np.ndarray[Any, Any]:
    if place.permuted_heads is not None:
        halves = numbers.reshape(place.permuted_heads, -1, 2, *numbers.shape[1:])
        numbers = halves.swapaxes(1, 2).reshape(numbers.shape)
    if place.leading_one:
        numbers = numbers[None]
    return numbers - np.float32(place.offset) if place.offset else numbers
