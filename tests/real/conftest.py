"""What the tests on real models share: each model built once, in a home that tests only read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxbuild.registry.core.home import Home
from tests.mlxbuild.conftest import CommandLine
from tests.mlxbuild.serving.conftest import ServeProcess, serving
from tests.real import models

SMOLLM2 = """\
name: smol
version: "1.0"
base: {path: model}
license: Apache-2.0
defaults: {temperature: 0}
variants:
  quantization: [int8, none]
tests:
  - complete:
      messages: [{role: user, content: What is the capital of France?}]
      expect: {contains: Paris}
      max_tokens: 16
"""
MINILM = """\
name: minilm
version: "1.0"
base: {path: model}
license: Apache-2.0
variants:
  quantization: [none, int8]
"""


def _built(folder: Path, model: Path, recipe: str, home: Home) -> CommandLine:
    folder.mkdir()
    (folder / "model").symlink_to(models.require(model))
    (folder / "ModelSpec.yaml").write_text(recipe)
    mlxbuild = CommandLine(folder, home)
    done = mlxbuild("create")
    assert done.code == 0, done.err
    return mlxbuild


@pytest.fixture(scope="package")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """SmolLM2 as `smol:int8` and `smol:none`."""
    place = tmp_path_factory.mktemp("smollm2")
    return _built(place / "recipe", models.SMOLLM2, SMOLLM2, Home(place / "home"))


@pytest.fixture(scope="package")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """MiniLM as `minilm:none` and `minilm:int8`."""
    place = tmp_path_factory.mktemp("minilm")
    return _built(place / "recipe", models.MINILM, MINILM, Home(place / "home"))


@pytest.fixture(scope="package")
def served(smollm2: CommandLine) -> Iterator[ServeProcess]:
    """A server over SmolLM2."""
    with serving(smollm2.home) as server:
        yield server
