"""What a build survives: kills at any moment, damaged and deleted blobs, read-only disks, a second builder."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from tests import disks
from tests.mlxbuild.conftest import CommandLine
from tests.processes import has_ended

KILLS = 20


def _finished_blocks(mlxbuild: CommandLine) -> set[str]:
    """Labels of the block actions whose results a killed build left behind, by what the next plan calls a hit."""
    planned = mlxbuild("plan", "--json")
    assert planned.code == 0, planned.err
    return {
        action["label"]
        for action in json.loads(planned.out)["actions"]
        if action["status"] == "hit" and action["step"] in ("quantize", "convert")
    }


def test_a_build_killed_at_any_moment_goes_on_where_it_stopped(mlxbuild: CommandLine, tmp_path: Path) -> None:
    begun = time.monotonic()
    mlxbuild.start("create").communicate()
    whole = time.monotonic() - begun
    digest = mlxbuild.built()
    source = random.Random(1)
    moments = [whole * (number + source.random()) / KILLS for number in range(KILLS)]
    interrupted = 0
    for number, moment in enumerate(moments):
        # Homes are reused in groups, so that kills also hit builds that go on after a kill.
        fresh = CommandLine(mlxbuild.folder, Home(tmp_path / f"home{number // 5}"))
        process = fresh.start("create", "--frozen", "--jobs", "2")
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            interrupted += 1
        if number % 5 == 4:
            done = _finished_blocks(fresh)
            assert done.isdisjoint(fresh.ran("--frozen"))
            assert fresh.built() == digest
            verified = fresh("verify", "tiny:int4")
            assert verified.code == 0, verified.err
    assert interrupted > KILLS // 3, "the kills came too late to mean anything"


def test_an_interrupt_leaves_no_child_and_keeps_what_is_done(mlxbuild: CommandLine) -> None:
    import psutil

    process = mlxbuild.start("create", "--executor", "process")
    seen: set[int] = set()
    until = time.monotonic() + 60
    while not seen and time.monotonic() < until and process.poll() is None:
        seen = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert seen, "no child was ever seen"
    assert all(map(has_ended, seen))
    assert mlxbuild("create").code == 0


@pytest.fixture
def built(mlxbuild: CommandLine) -> Artifact:
    """The int4 artifact, opened."""
    return Artifact.open(mlxbuild.store, Digest.parse(mlxbuild.built()))


def test_every_deleted_blob_is_made_again(mlxbuild: CommandLine, built: Artifact) -> None:
    blobs = {built.manifest.blob, built.manifest.config.blob, *(file.blob for file in built.files)}
    for blob in sorted(blobs):
        mlxbuild.store.remove(blob.digest)
        assert mlxbuild("create").code == 0
        verified = mlxbuild("verify", str(built.digest))
        assert verified.code == 0, verified.err


def test_a_damaged_blob_is_found_by_verify_and_made_again_by_create(mlxbuild: CommandLine, built: Artifact) -> None:
    shard = next(file for file in built.files if file.path.startswith("model-00002"))
    path = mlxbuild.store.path(shard.blob.digest)
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    found = mlxbuild("verify", "tiny:int4")
    assert found.code == 10
    assert found.err.startswith("error[verification-failed]: 1 check failed\n")
    assert f"{shard.path}: the bytes of {shard.blob.digest} are damaged" in found.err
    assert "hint: damaged blobs were quarantined: the next `mlxbuild create` builds them again\n" in found.err
    again = mlxbuild("verify", "tiny:int4").err
    assert f"{shard.path}: the store does not hold {shard.blob.digest}" in again
    assert again.endswith("hint: `mlxbuild create` builds it again, or `mlxbuild pull` fetches it again\n")
    assert list((mlxbuild.home.cache / "quarantine").iterdir())
    assert [label for label in mlxbuild.ran() if "pack" in label] == []
    assert mlxbuild("verify", "tiny:int4").code == 0


def test_damage_that_touched_the_file_is_found_by_create_alone(mlxbuild: CommandLine, built: Artifact) -> None:
    shard = next(file for file in built.files if file.path.startswith("model-00003"))
    path = mlxbuild.store.path(shard.blob.digest)
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))
    ran = mlxbuild.ran()
    assert [label for label in ran if "/quantize/" in label] == ["tiny:int4/quantize/001"]
    assert mlxbuild("verify", "tiny:int4").code == 0


def test_a_flipped_bit_is_told_before_a_model_answers(mlxbuild: CommandLine, built: Artifact) -> None:
    question = ("run", "--embedded", "tiny:int4", "hello", "--max-tokens", "2")
    assert mlxbuild(*question).code == 0
    for file in (built.files[0], next(file for file in built.files if file.path == "chat_template.jinja")):
        path = mlxbuild.store.path(file.blob.digest)
        times, right = path.stat(), path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        done = mlxbuild(*question)
        assert (done.code, done.out) == (10, "")
        assert "error[blob-corrupt]" in done.err
        path.write_bytes(right)
    assert mlxbuild(*question).code == 0


def test_two_builders_at_once_do_not_disturb_each_other(mlxbuild: CommandLine) -> None:
    first, second = mlxbuild.start("create"), mlxbuild.start("create")
    outs = [process.communicate(timeout=240) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outs
    assert outs[0][0] == outs[1][0]
    assert mlxbuild("verify", "tiny:none").code == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 64 MiB."""
    with disks.small_disk(tmp_path / "small", "64m") as disk:
        yield disk


def test_a_read_only_store_can_be_read_and_is_not_written_to(mlxbuild: CommandLine, small_disk: Path) -> None:
    shelf = CommandLine(mlxbuild.folder, Home(small_disk / "home"))
    shelf.built()
    assert shelf("run", "tiny:int4", "hello", "--max-tokens", "2").code == 0  # lays the folder of links
    disks.make_read_only(small_disk)
    assert shelf("verify", "tiny:int4").code == 0
    assert "tiny:int4" in shelf("list").out
    assert shelf("run", "tiny:int4", "hello", "--max-tokens", "2").code == 0
    (shelf.folder / "ModelSpec.yaml").write_text((shelf.folder / "ModelSpec.yaml").read_text().replace("1.0", "1.1"))
    done = shelf("create")
    assert done.code == 6
    assert "read-only" in done.err.lower()


def test_a_planted_secret_appears_nowhere(mlxbuild: CommandLine) -> None:
    token = "hf_PLANTEDsecretPLANTEDsecretPLANTED"
    environment = {"HF_TOKEN": token, "HUGGING_FACE_HUB_TOKEN": token}
    outcomes = [
        mlxbuild(*words, env=environment)
        for words in (["create"], ["plan"], ["-v", "verify", "tiny:int4"], ["run", "tiny:int4", "x"], ["doctor"])
    ]
    assert all(token not in outcome.out + outcome.err for outcome in outcomes)
    for root in (mlxbuild.home.root, mlxbuild.folder):
        for path in root.rglob("*"):
            if path.is_file():
                assert token.encode() not in path.read_bytes(), path
