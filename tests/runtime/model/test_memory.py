"""What limits leave, and that a lack of memory is told as one: in a process whose address space is bounded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mlxbuild.runtime.model.memory import available_bytes, bounded_bytes, is_lack_of_memory
from tests.runtime.model.test_architecture import fresh_python
from tests.runtime.tiny_folders import write_model

BOUNDED = """
import json, resource
from pathlib import Path
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.model import memory
from mlxbuild.runtime.model.load import load_weights
import mlx.nn  # so that there is room for the code
import mlxbuild.runtime.model.architecture, mlx_lm.models.qwen3
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + {room}, resource.RLIM_INFINITY))
told = [memory.bounded_bytes(), None]
try:
    load_weights(Path({folder!r}))
except MlxbuildError as error:
    told[1] = error.code
print(json.dumps(told))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not hold processes to such a limit")
def test_too_little_memory_is_a_clear_error(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    left, code = json.loads(fresh_python(BOUNDED.format(room=100_000, folder=str(folder))))
    assert left <= 100_000
    assert code == "out-of-memory"


def test_what_is_available_is_within_the_limits() -> None:
    limit = bounded_bytes()
    assert 0 < available_bytes() <= (limit if limit is not None else available_bytes())


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (RuntimeError("[malloc] Unable to allocate 1000 bytes."), True),
        (RuntimeError("[metal::malloc] Attempting to allocate 9 bytes which is greater than the maximum"), True),
        (RuntimeError("std::bad_alloc"), True),
        (MemoryError(), True),
        (RuntimeError("There is no Stream(cpu, 0) in current thread."), False),
    ],
)
def test_the_signs_of_a_lack_of_memory(error: Exception, is_one: bool) -> None:
    assert is_lack_of_memory(error) == is_one
