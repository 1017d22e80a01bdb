"""A home that an earlier version wrote is opened, verified, run, collected and built upon by this one."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import mlx.core as mx
import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.toolchain.core.steps import STEPS
from tests.mlxbuild.conftest import CommandLine

ARCHIVE = Path(__file__).with_name("old_home") / "home.tar.xz"
INT4 = "sha256:8576bb3a922d051b7197bb70031cf1dccee406dd2df6206226db7dc13cb8ed7d"
NONE = "sha256:4ef306ef96e619b9a05768c08cbd7df1bad3b4605f76cd734a62ecbeb84ef2d2"
TAGS = ["tiny:1.0", "tiny:int4", "tiny:int4-1.0", "tiny:latest", "tiny:none", "tiny:none-1.0"]


@pytest.fixture
def old(tmp_path: Path) -> CommandLine:
    """The old home, as if it had been of use just now, and the recipe that it was built from."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="tar")
    for trace in (tmp_path / "home" / "cache" / "traces").rglob("*.json"):
        os.utime(trace)
    return CommandLine(tmp_path / "recipe", Home(tmp_path / "home"))


def said(old: CommandLine, *words: str) -> str:
    """What a command that succeeds prints."""
    done = old(*words)
    assert done.code == 0, done.err
    return done.out


def test_what_it_holds_is_listed_shown_and_verified(old: CommandLine) -> None:
    rows = json.loads(said(old, "list", "--json"))
    digests = {name: row["digest"] for row in rows for name in (row["name"], *row["aliases"])}
    assert digests == {tag: NONE if "none" in tag else INT4 for tag in TAGS}
    shown = json.loads(said(old, "show", "tiny:int4", "--json"))
    assert shown["digest"] == INT4
    assert shown["defaults"]["system_prompt"] == "Be brief."
    assert "tiny:int4@1.0" in said(old, "show", "tiny:int4")
    proven = json.loads(said(old, "verify", "tiny:int4", "--key", "mine", "--offline", "--json"))["proven"]
    assert set(proven) >= {"signature", "provenance", "gates"}
    said(old, "verify", "tiny:none")
    kinds = [
        row["kind"] for row in json.loads(said(old, "evidence", "tiny:int4", "--key", "mine", "--json"))["evidence"]
    ]
    assert sorted(kinds) == ["bom", "gates", "provenance", "signature"]


def test_what_was_built_is_explained(old: CommandLine) -> None:
    assert "  system_prompt: 'Be long.' → 'Be brief.'" in said(old, "why", "tiny:int4", "pack")
    assert len(json.loads(said(old, "log", "last", "--json"))["actions"]) == 21


def test_its_models_answer_pass_their_gates_and_are_exported(old: CommandLine, tmp_path: Path) -> None:
    said(old, "run", "tiny:int4", "--max-tokens", "2", "Hi")
    assert said(old, "test", "tiny:none").count("pass  ") == 3
    said(old, "export", "tiny:none", str(tmp_path / "exported"))
    tensors: dict[str, mx.array] = {}
    for file in (tmp_path / "exported").glob("*.safetensors"):
        tensors.update(mx.load(str(file)))
    base = mx.load(str(old.folder / "model" / "model.safetensors"))
    assert tensors.keys() == base.keys()
    assert all(mx.array_equal(tensors[name], base[name]) for name in tensors)


def test_garbage_is_collected_and_what_has_a_name_stays(old: CommandLine) -> None:
    said(old, "rm", "tiny:none", "tiny:none-1.0")
    assert json.loads(said(old, "gc", "--grace", "0", "--json"))["freed_bytes"] > 0
    said(old, "verify", "tiny:int4", "--key", "mine")
    assert old("show", NONE).code != 0


@pytest.mark.parametrize("with_traces", [True, False])
def test_the_recipe_is_built_again_on_top(old: CommandLine, with_traces: bool) -> None:
    if not with_traces:
        shutil.rmtree(old.home.cache)
    built = [line.split()[0] for line in said(old, "create").splitlines()]
    assert built == ["tiny:int4@1.0", "tiny:none@1.0"]
    said(old, "create", *(f"--refresh={step}" for step in STEPS))
    said(old, "create", "--expect-cached")
    for name in ("tiny:int4", "tiny:none", INT4, NONE):
        said(old, "verify", name)
    assert old("verify", INT4, "--rebuild").code in (0, 9)  # recipe and lock are read; the bytes may have changed since
