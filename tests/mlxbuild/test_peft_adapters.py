"""Adapters of PEFT in a recipe, from a Hub and in a Modelfile, by the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hub_server import LocalHub
from tests.mlxbuild.conftest import CommandLine
from tests.toolchain.weights.peft_adapters import Adapter, load, merge_and_unload

Q = "model.layers.{}.self_attn.q_proj"
ADAPTER = Adapter({Q.format(0): 4, Q.format(2): 4}, {"modules_to_save": ["norm"]}, whole=("model.norm.weight",))


@pytest.fixture
def adapter(mlxbuild: CommandLine) -> Path:
    """An adapter beside the recipe, which does not name it yet."""
    return ADAPTER.write(mlxbuild.folder / "adapter", load(mlxbuild.folder / "model"))


@pytest.fixture
def named(adapter: Path, edit: Callable[[str, str], None]) -> Path:
    """The same, and the recipe names it."""
    edit("base: {path: model}\n", "base: {path: model}\nadapters: [{path: adapter}]\n")
    return adapter


def weights(mlxbuild: CommandLine, name: str) -> dict[str, str]:
    """Each shard's digest."""
    files = json.loads(mlxbuild("show", name, "--json").out)["files"]
    shards = {file["path"]: file["digest"] for file in files if file["path"].endswith(".safetensors")}
    assert shards
    return shards


def test_an_adapter_gives_the_artifact_of_the_merged_model(
    mlxbuild: CommandLine, adapter: Path, edit: Callable[[str, str], None]
) -> None:
    plain = mlxbuild.built()
    edit("base: {path: model}\n", "base: {path: model}\nadapters: [{path: adapter}]\n")
    ran = [label for label in mlxbuild.ran() if "tiny:int4/quantize" in label]
    assert ran == [f"tiny:int4/quantize/{block}" for block in ("000", "002", "head")]
    digest = mlxbuild.built()
    assert digest != plain
    assert mlxbuild("verify", "tiny:int4", "--rebuild").code == 0
    assert mlxbuild("run", "tiny:int4", "hello", "--max-tokens", "3").code == 0
    adapted = {variant: weights(mlxbuild, f"tiny:{variant}") for variant in ("int4", "none")}
    merge_and_unload(mlxbuild.folder / "model", adapter, mlxbuild.folder / "merged")
    edit("base: {path: model}\nadapters: [{path: adapter}]\n", "base: {path: merged}\n")
    mlxbuild.built()
    assert {variant: weights(mlxbuild, f"tiny:{variant}") for variant in ("int4", "none")} == adapted


def test_what_the_configuration_cannot_have_meant_is_refused_by_the_lock(mlxbuild: CommandLine, named: Path) -> None:
    config = json.loads((named / "adapter_config.json").read_text())
    (named / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    done = mlxbuild("lock")
    assert done.code == 2
    assert "error[unsupported-adapter]: DoRA (`use_dora`) cannot be fused here" in done.err
    assert "adapter/adapter_config.json" in done.err
    assert "merge_and_unload" in done.err
    assert not (mlxbuild.folder / "ModelSpec.lock").exists()


def test_an_adapter_of_another_model_is_refused_by_the_plan(mlxbuild: CommandLine, named: Path) -> None:
    other = {f"{Q.format(9)}.weight": load(mlxbuild.folder / "model")[f"{Q.format(0)}.weight"]}
    Adapter({Q.format(9): 4}).write(mlxbuild.folder / "other", other)
    (mlxbuild.folder / "other" / "adapter_model.safetensors").rename(named / "adapter_model.safetensors")
    done = mlxbuild("plan")
    assert done.code == 2
    assert f"the base model has no tensor `{Q.format(9)}.weight` for the adapter to change" in done.err
    assert "--> adapter/adapter_model.safetensors" in done.err


def test_a_modelfile_names_an_adapter(mlxbuild: CommandLine, adapter: Path, named: Path) -> None:
    mlxbuild.built()
    expected = weights(mlxbuild, "tiny:none")
    (mlxbuild.folder / "Modelfile").write_text(f"FROM ./model\nADAPTER ./{adapter.name}\n")
    done = mlxbuild("import", "Modelfile")
    assert done.code == 0, done.err
    assert "note: ADAPTER" not in done.err
    (mlxbuild.folder / "ModelSpec.yaml").write_text(done.out)
    built = mlxbuild("create")
    assert built.code == 0, built.err
    assert weights(mlxbuild, built.out.split()[1]) == expected


def test_of_an_adapter_on_a_hub_the_header_is_enough_for_a_plan(
    mlxbuild: CommandLine, adapter: Path, local_hub: LocalHub, edit: Callable[[str, str], None]
) -> None:
    local_hub.publish("acme/adapter", {path.name: path.read_bytes() for path in adapter.iterdir()})
    edit("base: {path: model}\n", "base: {path: model}\nadapters: [{hf_repo: acme/adapter}]\n")
    hub = {name: value for name, value in os.environ.items() if name.startswith("HF_")} | {"NO_PROXY": "127.0.0.1"}
    done = mlxbuild("plan", env=hub)
    assert done.code == 0, done.err
    bodies = [request for request in local_hub.requests if request.path.endswith("adapter_model.safetensors")]
    ranges = [request.range for request in bodies if request.method == "GET"]
    assert ranges
    assert all(ranges)
    assert mlxbuild("create", env=hub).code == 0
