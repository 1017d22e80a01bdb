"""Tokenizer files reach the store byte for byte, and only as the lock names them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.steps.tokenizer import TOKENIZER_FILES, ChangedSource, TokenizerStep


class OnePlace:
    """Finds every digest at one path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = 0

    def locate(self, digest: Digest) -> Path:
        self.asked += 1
        return self.path


def record(**inputs: Digest) -> ActionRecord:
    return ActionRecord("tokenizer", 1, {}, {name: str(digest) for name, digest in inputs.items()})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=3000))
def test_bytes_stay_as_they_are(store: Store, tmp_path: Path, data: bytes) -> None:
    path, progress = tmp_path / "tokenizer.json", [0]
    path.write_bytes(data)
    source = OnePlace(path)
    context = StepContext(store, source, lambda count: progress.append(count), lambda: None)
    digest = Digest.of_bytes(data)
    was_there = store.has(digest)
    outputs = TokenizerStep().run(record(file=digest), context)
    assert store.read(outputs["file"].digest) == data
    assert outputs["file"].size_bytes == len(data)
    assert sum(progress) == (0 if was_there else len(data))
    assert TokenizerStep().run(record(file=digest), context) == outputs
    assert source.asked == (0 if was_there else 1)


@pytest.mark.parametrize("is_in_store", [False, True])
def test_json_loses_its_byte_order_mark(store: Store, tmp_path: Path, is_in_store: bool) -> None:
    data = b'\xef\xbb\xbf{"added": []}'
    path = tmp_path / "marked"
    path.write_bytes(data)
    if is_in_store:
        store.put(data)
    context = StepContext(store, OnePlace(path), lambda count: None, lambda: None)
    inputs = {"tokenizer_config.json": str(Digest.of_bytes(data)), "vocab.txt": str(Digest.of_bytes(data))}
    outputs = TokenizerStep().run(ActionRecord("tokenizer", 2, {}, inputs), context)
    assert store.read(outputs["tokenizer_config.json"].digest) == b'{"added": []}'
    assert store.read(outputs["vocab.txt"].digest) == data


def test_a_file_that_has_changed_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(b"changed")
    context = StepContext(store, OnePlace(path), lambda count: None, lambda: None)
    with pytest.raises(ChangedSource, match="a_file"):
        TokenizerStep().run(record(a_file=Digest.of_bytes(b"as locked")), context)


def test_every_name_is_listed_once() -> None:
    assert sorted(set(TOKENIZER_FILES)) == list(TOKENIZER_FILES)
    assert "chat_template.jinja" not in TOKENIZER_FILES
