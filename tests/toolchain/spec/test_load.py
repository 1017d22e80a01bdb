"""Loading as a whole: all mistakes at once, from any input."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxbuild.toolchain.spec.errors import SpecError
from mlxbuild.toolchain.spec.load import MOST_PROBLEMS, lint, load
from mlxbuild.toolchain.spec.report import render
from mlxbuild.toolchain.spec.schema import generate

WORDS = (Path(generate.__file__).parent / "examples" / "valid" / "full.yaml").read_text(encoding="utf-8").split("\n")
NOISE = st.sampled_from(["[", "{", "null", ": ", "- ", "\n", '"', "1", "&a ", "*a", "? ", "<<", "!x ", "|", "\t", "é"])


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_damaged_recipe_is_judged(tmp_path: Path, data: st.DataObject) -> None:
    lines = data.draw(st.lists(st.sampled_from(WORDS), max_size=12)) if data.draw(st.booleans()) else list(WORDS)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(lines) - 1)))
        line = lines[at] if lines else ""
        column = data.draw(st.integers(0, len(line)))
        lines[at : at + 1] = [line[:column] + data.draw(NOISE) + line[column + data.draw(st.integers(0, 3)) :]]
    path = tmp_path / "ModelSpec.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    problems = lint(path)
    for problem in problems:
        assert problem.message
        assert problem.location.file == str(path)
    assert render(problems, "text").replace("\n", "").isprintable()


def test_a_flood_of_mistakes_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "ModelSpec.yaml"
    path.write_text("a: 1\n" * 20_000)
    assert len(lint(path)) == MOST_PROBLEMS


def test_the_error_is_a_spec_error_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "ModelSpec.yaml"
    path.write_text('name: hello\nversion: "1"\nbase: {hf_repo: a/b}\ndtype: half\n')
    with pytest.raises(SpecError) as caught:
        load(path)
    assert str(caught.value.where) == f"{path}:4:8"
    assert caught.value.message == "invalid value for `dtype`: `half`"


def test_a_recipe_knows_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ModelSpec.yaml").write_text('name: hello\nversion: "1"\nbase: {hf_repo: a/b}\n')
    monkeypatch.chdir(tmp_path)
    recipe = load(Path("ModelSpec.yaml"))
    assert recipe.path == tmp_path / "ModelSpec.yaml"
    assert (recipe.name, recipe.version) == ("hello", "1")
    (spec,) = recipe.variants()
    assert spec.recipe == recipe.path
    assert str((spec.origins or {})["base.hf_repo"]) == "ModelSpec.yaml:3:17"
