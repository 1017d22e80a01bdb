"""Recipes and artifacts from Python, with a real registry between two stores."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlxbuild as package
from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.events.model import ArtifactBuilt, Event, Noted, RunFinished
from tests.mlxbuild.conftest import CommandLine
from tests.registries import docker_registry


def test_a_recipe_is_built_verified_pushed_and_pulled(
    mlxbuild: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, told = package.open_store(mlxbuild.home.root), list[Event]()
    recipe = package.read_recipe(mlxbuild.folder)
    assert [spec.variant for spec in recipe.variants()] == ["int4", "none"]
    (built,) = package.create(recipe, variants=["int4"], store=store, observe=told.append)
    assert isinstance(told[0], Noted)
    assert [event.label for event in told if isinstance(event, ArtifactBuilt)] == ["tiny:int4@1.0"]
    assert isinstance(told[-1], RunFinished)
    assert built.digest is not None
    assert package.verify("tiny:int4", store=store).is_built
    assert mlxbuild("create", "--variant", "int4", "--expect-cached").code == 0

    other = package.open_store(tmp_path / "other")
    with docker_registry(tmp_path / "registry") as registry:
        assert package.push("tiny:int4", f"{registry.host}/acme/tiny", store=store).tags == ("int4",)
        assert package.pull(f"{registry.host}/acme/tiny:int4", store=other).digest == built.digest
        by_digest = f"tiny@{built.digest}"
        with pytest.raises(package.MlxbuildError) as raised:
            package.push(by_digest, store=store)
        refused = mlxbuild("push", by_digest)
        assert (refused.code, raised.value.code) == (2, "nothing-to-push")
        assert refused.err.startswith(f"error[{raised.value.code}]: {raised.value.message}")
        pushed = mlxbuild("push", by_digest, f"{registry.host}/acme/digest")
        assert package.push(by_digest, f"{registry.host}/acme/digest", store=store).tags == ("latest",)
        assert pushed.out == f"{registry.host}/acme/digest:latest {built.digest}\n", pushed.err
    assert package.verify(f"{registry.host}/acme/tiny:int4", store=other).digest == built.digest
    monkeypatch.setenv("MLXBUILD_HOME", str(other.home.root))
    assert package.open_store().home == other.home


def test_errors_are_raised_with_their_codes(mlxbuild: CommandLine) -> None:
    store = package.open_store(mlxbuild.home.root)
    with pytest.raises(package.MlxbuildError) as raised:
        package.create(mlxbuild.folder, locked=True, store=store)
    assert raised.value.code == "lock-missing"
    recipe = mlxbuild.folder / "ModelSpec.yaml"
    recipe.write_text(recipe.read_text().replace("[config.json,", "[nothing.txt,"))
    with pytest.raises(package.MlxbuildError) as raised:
        package.create(recipe, store=store)
    assert (raised.value.code, raised.value.exit_code) == ("gate-failed", 4)
    with pytest.raises(package.MlxbuildError) as raised:
        package.verify("nobody", store=store)
    assert raised.value.code == "unknown-reference"


def test_a_damaged_artifact_does_not_verify(mlxbuild: CommandLine) -> None:
    store = package.open_store(mlxbuild.home.root)
    (built,) = package.create(mlxbuild.folder, variants=["none"], store=store)
    assert isinstance(built.digest, Digest)
    largest = max(store.home.store.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    largest.write_bytes(b"x" * largest.stat().st_size)
    with pytest.raises(package.MlxbuildError) as raised:
        package.verify("tiny:none", store=store)
    assert raised.value.code == "verification-failed"
