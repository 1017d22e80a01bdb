"""Private folders that go from one runner to the next."""

from __future__ import annotations

from pathlib import Path

from mlxbuild.runtime.runner.environment import least_environment
from mlxbuild.runtime.runner.scratch import Scratch


def test_nobody_has_a_folder_that_another_has(tmp_path: Path) -> None:
    first, second = Scratch.take(tmp_path), Scratch.take(tmp_path)
    assert first.folder != second.folder
    assert first.folder.stat().st_mode & 0o077 == 0
    first.give_back(in_order=True)
    third = Scratch.take(tmp_path)
    assert third.folder == first.folder
    second.give_back(in_order=True)
    third.give_back(in_order=True)


def test_what_is_whole_stays_and_what_may_be_half_written_goes(tmp_path: Path) -> None:
    for in_order, stays in ((True, True), (False, False)):
        scratch = Scratch.take(tmp_path)
        (scratch.folder / "kernel.so").write_bytes(b"x")
        scratch.give_back(in_order=in_order)
        again = Scratch.take(tmp_path)
        assert (again.folder / "kernel.so").exists() == stays
        again.give_back(in_order=True)


def test_a_folder_of_a_process_that_was_killed_is_emptied(tmp_path: Path) -> None:
    scratch = Scratch.take(tmp_path)
    (scratch.folder / "kernel.so").write_bytes(b"x")
    scratch.give_back(in_order=False)  # as the kernel does: the lock goes, and nothing is noted
    assert not (Scratch.take(tmp_path).folder / "kernel.so").exists()


def test_only_what_computing_needs_is_inherited(tmp_path: Path) -> None:
    whole = {
        "PATH": "/bin",
        "TZ": "UTC",
        "MLX_METAL_DEBUG": "1",
        "HF_TOKEN": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "MLXBUILD_API_KEY": "secret",
        "PYTHONPATH": "/planted",
        "LD_PRELOAD": "/planted.so",
        "HOME": "/home/somebody",
    }
    kept = least_environment(whole, tmp_path)
    assert kept.keys() == {"PATH", "TZ", "MLX_METAL_DEBUG", "TMPDIR", "HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
    assert kept["TMPDIR"] == kept["HOME"] == str(tmp_path)
