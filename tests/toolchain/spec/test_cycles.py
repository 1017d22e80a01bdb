"""Artifacts that lead back to themselves, within one recipe and around several."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxbuild.toolchain.spec.errors import SpecError
from mlxbuild.toolchain.spec.load import check_cycles, lint, load
from mlxbuild.toolchain.spec.problems import Code
from mlxbuild.toolchain.spec.recipe import Recipe

DIGEST = "sha256:" + "0" * 64


def write(folder: Path, name: str, base: str, version: str = "1.0", lines: str = "") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f'name: {name}\nversion: "{version}"\nbase: {{from: "{base}"}}\nquantization: int4\n{lines}')
    return path


def recipe(folder: Path, name: str, base: str) -> Recipe:
    return load(write(folder, name, base))


@pytest.mark.parametrize("base", ["hello:int4@1.0", "hello:int4", "hello:1.0", "hello:latest", "hello"])
def test_every_tag_that_the_recipe_moves_leads_back(tmp_path: Path, base: str) -> None:
    (problem,) = lint(write(tmp_path, "hello", base))
    assert problem.code is Code.CYCLE
    assert "hello:int4@1.0 → hello:int4@1.0" in problem.message
    assert (problem.location.line, problem.location.column) == (3, 14)


@pytest.mark.parametrize(
    "base", ["hello:int4@0.9", "hello:none", "ghcr.io/acme/hello:int4", "acme/hello:int4", f"hello:int4@{DIGEST}"]
)
def test_other_artifacts_do_not(tmp_path: Path, base: str) -> None:
    assert lint(write(tmp_path, "hello", base)) == ()


def test_later_variants_may_build_on_the_first(tmp_path: Path) -> None:
    lines = "variants:\n  quantization: [none, int4]\n  base: [{hf_repo: a/b}, {from: 'hello:none'}]\n"
    lines += "  zip: [[quantization, base]]\n  tag: '{quantization}'\n"
    assert lint(write(tmp_path, "hello", "other", lines=lines)) == ()


def test_a_loop_around_recipes_is_printed(tmp_path: Path) -> None:
    recipes = tuple(
        recipe(tmp_path, name, base) for name, base in [("a", "b:int4"), ("b", "c"), ("c", "a:1.0"), ("d", "a")]
    )
    with pytest.raises(SpecError) as caught:
        check_cycles(recipes)
    (problem,) = caught.value.problems
    assert "a:int4@1.0 → b:int4@1.0 → c:int4@1.0 → a:int4@1.0" in problem.message
    assert problem.location.file == str(tmp_path / "a.yaml")


def test_two_loops_are_two_problems(tmp_path: Path) -> None:
    recipes = tuple(recipe(tmp_path, *pair) for pair in [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")])
    with pytest.raises(SpecError) as caught:
        check_cycles(recipes)
    assert len(caught.value.problems) == 2


def test_a_chain_is_fine(tmp_path: Path) -> None:
    check_cycles(tuple(recipe(tmp_path, *pair) for pair in [("a", "b"), ("b", "c"), ("c", "d:int4@2.0")]))
