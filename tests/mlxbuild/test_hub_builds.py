"""Builds from a Hub: pinned, resumed, refused, offline; what goes wrong on the way is told and mended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlxbuild.registry.core.home import Home
from tests.hub_server import Fault, LocalHub
from tests.mlxbuild.conftest import CommandLine, Outcome

RECIPE = 'name: far\nversion: "1.0"\nbase: {hf_repo: acme/tiny}\nquantization: int4\n'
TOKEN = "hf_PLANTEDsecretPLANTEDsecretPLANTED"
WEIGHTS = "model-00001-of-00002.safetensors"


class FarBuild:
    """A recipe whose base lies on a Hub, and the program that builds it."""

    def __init__(self, folder: Path, hub: LocalHub, model: Path) -> None:
        self.folder = folder
        self.hub = hub
        self.files = {path.name: path.read_bytes() for path in model.iterdir()}
        hub.publish("acme/tiny", self.files)
        (folder / "ModelSpec.yaml").write_text(RECIPE)

    def run(self, *words: str, home: str = "home", **environment: str) -> Outcome:
        hub = {name: value for name, value in os.environ.items() if name.startswith("HF_")}
        program = CommandLine(self.folder, Home(self.folder / home))
        return program(*words, env=hub | {"NO_PROXY": "127.0.0.1"} | environment)


@pytest.fixture
def far(tmp_path: Path, local_hub: LocalHub, tiny_model: Path) -> FarBuild:
    folder = tmp_path / "far"
    folder.mkdir()
    return FarBuild(folder, local_hub, tiny_model)


def test_a_hub_and_a_folder_of_the_same_files_share_every_block(far: FarBuild, mlxbuild: CommandLine) -> None:
    mlxbuild.built()
    program = CommandLine(far.folder, mlxbuild.home)
    done = program("create", env={name: value for name, value in os.environ.items() if name.startswith("HF_")})
    assert done.code == 0, done.err
    assert "far:int4/quantize" not in done.err


def test_plan_moves_no_weights(far: FarBuild) -> None:
    done = far.run("plan")
    assert done.code == 0, done.err
    assert "to fetch or check" in done.out
    bodies = [request for request in far.hub.requests if request.method == "GET" and request.path.endswith(WEIGHTS)]
    assert bodies
    assert all(request.range for request in bodies)


def test_what_is_pinned_stays_when_the_branch_moves(far: FarBuild) -> None:
    first = far.run("create")
    assert first.code == 0, first.err
    far.hub.publish("acme/tiny", far.files | {"generation_config.json": b'{"temperature": 0.1}'})
    assert far.run("create", home="other").out == first.out
    upgraded = far.run("lock", "--upgrade")
    assert "moved from" in upgraded.out
    assert far.run("create").out != first.out


def test_offline_once_the_files_are_there(far: FarBuild) -> None:
    first = far.run("create")
    far.hub.requests.clear()
    again = far.run("create", home="other", HF_HUB_OFFLINE="1")
    assert again.out == first.out
    assert far.hub.requests == []
    (far.folder / "ModelSpec.lock").unlink()
    asked = far.run("lock", home="third", HF_HUB_OFFLINE="1", HF_HOME=str(far.folder / "empty"))
    assert asked.code == 5
    assert "error[offline]" in asked.err


@pytest.mark.parametrize(
    "fault",
    [
        Fault("blob", status=503, times=2),
        Fault("blob", status=429, retry_after=1, times=1),
        Fault("blob", truncate=1000, times=2),
        Fault("blob", path=WEIGHTS, replace=b"not what was promised", times=1),
    ],
    ids=["503", "429", "truncated", "wrong-bytes"],
)
def test_passing_trouble_is_survived(far: FarBuild, fault: Fault) -> None:
    assert far.run("lock").code == 0
    far.hub.faults.append(fault)
    done = far.run("create")
    assert done.code == 0, done.err
    assert far.run("verify", "far:int4").code == 0


def test_wrong_bytes_for_good_are_refused_and_nothing_is_kept(far: FarBuild) -> None:
    assert far.run("lock").code == 0
    content = bytearray(far.files[WEIGHTS])
    content[-1] ^= 1
    far.hub.faults.append(Fault("blob", path=WEIGHTS, replace=bytes(content)))
    refused = far.run("create")
    assert refused.code == 10
    assert "error[source-corrupt]" in refused.err
    far.hub.faults.clear()
    assert far.run("create").code == 0


def test_a_gated_repository_says_what_to_do_and_no_secret_is_written(far: FarBuild) -> None:
    far.hub.gated.add("acme/tiny")
    refused = far.run("create")
    assert refused.code == 2
    assert "error[repository-gated]" in refused.err
    assert "hint:" in refused.err
    far.hub.gated.clear()
    far.hub.private["acme/tiny"] = TOKEN
    granted = far.run("create", HF_TOKEN=TOKEN)
    assert granted.code == 0, granted.err
    broken = far.run("create", home="other", HF_TOKEN=TOKEN, HF_ENDPOINT="http://127.0.0.1:9")
    for outcome in (refused, granted, broken):
        assert TOKEN not in outcome.out + outcome.err
    for path in far.folder.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
