"""One record, one content: whatever the threads, the slices and the order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.weights.safetensors import read_file_header
from tests.toolchain.weights.block_builds import INT4, NONE, BlockBuild, variant
from tests.toolchain.weights.mlx_lm_reference import assert_same, reference
from tests.toolchain.weights.tiny_models import write_model


@pytest.mark.parametrize("family", ["qwen3", "qwen3_moe", "lfm2"])
def test_threads_and_slices_change_no_byte(family: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", family, shards=3)
    results = []
    for threads, slice_bytes in ((1, 1 << 24), (2, 4096), (4, 1), (3, 100_000)):
        store = Store.open(Home(tmp_path / f"home-{threads}-{slice_bytes}"))
        spec = variant(folder, INT4, dtype="float16")
        results.append(BlockBuild(store, folder, spec, threads=threads, slice_bytes=slice_bytes).run())
    assert all(result == results[0] for result in results)


def test_a_block_is_split_into_shards_at_the_limit(store: Store, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "source", "qwen3")
    limit = 32 * 1024
    build = BlockBuild(store, folder, variant(folder, NONE), shard_limit_bytes=limit)
    outputs = build.run()["001"]
    assert sorted(outputs) == ["facts", *(f"shard-{number:02d}" for number in range(len(outputs) - 1))]
    for name, blob in outputs.items():
        if name != "facts":
            rows = read_file_header(store.path(blob.digest))
            assert len(rows) == 1 or sum(row.size_bytes for row in rows) <= limit
            assert rows[0].begin % 8 == 0
    built = build.assemble(tmp_path / "built")
    assert_same(built, reference(folder, None)[0])


def test_threads_that_end_with_the_process_do_not_abort_it() -> None:
    program = """
import threading
import mlx.core as mx
from mlxbuild.toolchain.weights.device import cpu_device

def work():
    for _ in range(2):
        with cpu_device():
            mx.eval(mx.quantize(mx.random.normal((2816, 1024)), 64, 4))

threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    for _ in range(5):
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (0, "")
