"""Builds that a program follows: `create --progress json` tells all on stderr, and `--root` bounds recipes."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from tests.mlxbuild.conftest import CommandLine


def records(mlxbuild: CommandLine, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code and all that is told; each line fits the schema that is printed."""
    schema = Draft202012Validator(json.loads(mlxbuild("schema", "--events").out))
    done = mlxbuild("create", "--progress", "json", *words)
    told = [json.loads(line) for line in done.err.splitlines()]
    for record in told:
        schema.validate(record)
    return done.code, told


def test_a_build_is_told_from_its_lock_to_its_end(mlxbuild: CommandLine) -> None:
    code, told = records(mlxbuild)
    kinds = [record["event"] for record in told]
    assert (code, kinds[:2], kinds[-1]) == (0, ["Noted", "RunStarted"], "RunFinished")
    built = [record for record in told if record["event"] == "ArtifactBuilt"]
    assert [record["label"] for record in built] == ["tiny:int4@1.0", "tiny:none@1.0"]
    (run,) = (mlxbuild.home.logs / "runs").iterdir()
    kept = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    shown = [record for record in told if record["event"] not in ("Noted", "ActionProgress")]
    assert [record | {"at": 0} for record in kept] == [record | {"at": 0} for record in shown]


def test_every_mistake_of_a_recipe_is_an_error_of_its_own(mlxbuild: CommandLine) -> None:
    recipe = mlxbuild.folder / "ModelSpec.yaml"
    recipe.write_text(recipe.read_text() + "colour: red\nlicense: 7\n")
    code, told = records(mlxbuild)
    assert (code, [record["event"] for record in told]) == (2, ["Failed", "Failed", "RunFinished"])
    assert told[0]["code"] == "spec-unknown-key"
    assert all(record["where"].startswith("ModelSpec.yaml:") and record["kind"] == "user" for record in told[:2])
    assert told[-1]["exit_code"] == 2


def test_an_error_before_the_build_is_told_whole(mlxbuild: CommandLine) -> None:
    code, told = records(mlxbuild, "--locked")
    assert (code, told[0]["code"], told[0]["hint"]) == (7, "lock-missing", "run `mlxbuild lock` and commit it")
    assert told[-1]["exit_code"] == 7


def test_recipes_stay_below_the_root(mlxbuild: CommandLine) -> None:
    (mlxbuild.folder / ".git").mkdir()
    (mlxbuild.folder / "prompt.txt").write_text("Be brief.")
    inner = mlxbuild.folder / "inner"
    inner.mkdir()
    recipe = inner / "ModelSpec.yaml"
    recipe.write_text('name: inner\nversion: "1.0"\nbase: {path: ../model}\nsystem_prompt: {file: ../prompt.txt}\n')
    done = mlxbuild("create", "-f", "inner", "--root", "inner", "--portable")
    assert done.code == 2
    assert "`../prompt.txt` leads out of the recipe's folder" in done.err
    assert "`../model` leads out of the recipe's folder" in done.err
    assert mlxbuild("create", "-f", "inner", "--root", ".", "--portable").code == 0
    outside = mlxbuild("create", "--root", "inner")
    assert (outside.code, "error[recipe-outside]" in outside.err) == (2, True), outside.err
