"""Loads a recipe's file to its resolved variants, or reports all of its mistakes at once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mlxbuild.toolchain.spec.all_variants import bad_gates, shared_tags, with_own_gates
from mlxbuild.toolchain.spec.cycles import OrderedVariant, cycles
from mlxbuild.toolchain.spec.diagnose import diagnose
from mlxbuild.toolchain.spec.document import Document, read
from mlxbuild.toolchain.spec.errors import SpecError
from mlxbuild.toolchain.spec.positions import Positions
from mlxbuild.toolchain.spec.problems import Code, Problem, Snippet
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.recipe_folder import RecipeFolder
from mlxbuild.toolchain.spec.resolve import resolve
from mlxbuild.toolchain.spec.resolved import KEEP, FolderSource, ResolvedSpec
from mlxbuild.toolchain.spec.variants import Matrix
from mlxbuild.toolchain.spec.written.recipe import ModelSpec, VariantsForm

MOST_PROBLEMS = 100

AnyForm = TypeVar("AnyForm", bound=BaseModel)


def load(path: Path, *, portable: bool = False, within: Path | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: Path of the recipe.
        portable: Whether it must work on every machine, so that its base may not be outside of `within`.
        within: The folder that must hold all files it names; by default its git repository, else its own folder.

    Raises:
        SpecError: it cannot be read or has mistakes; all of them are in `problems`.
    """
    recipe, problems = _examine(path, portable=portable, within=within)
    if recipe is None:
        raise SpecError(problems)
    return recipe


def lint(path: Path, *, portable: bool = False) -> tuple[Problem, ...]:
    """Every mistake in a recipe, in file order; empty if there are none.

    Beyond the mistakes that `load` finds, JSON Schemas in its tests are checked against their meta-schema, and a base
    outside of the recipe's repository is a warning.
    """
    try:
        recipe, problems = _examine(path, portable=portable)
    except SpecError as error:
        return error.problems
    return problems if recipe is None else _in_order([*_check_json_schemas(path), *_bases_elsewhere(recipe)])


def check_cycles(recipes: tuple[Recipe, ...]) -> None:
    """Refuse recipes of one command that are built from each other.

    Raises:
        SpecError: one problem per cycle; the message prints it.
    """
    built = [
        OrderedVariant(spec, first=number == 0) for recipe in recipes for number, spec in enumerate(recipe.variants())
    ]
    problems = tuple(_cycle_problem(loop, read(loop[0].recipe)) for loop in cycles(built))
    if problems:
        raise SpecError(problems)


def _examine(
    path: Path, *, portable: bool = False, within: Path | None = None
) -> tuple[Recipe | None, tuple[Problem, ...]]:
    document = read(path)
    absolute = Path(os.path.normpath(path.absolute()))
    folder = RecipeFolder(absolute, portable=portable, within=within)
    problems = list(document.problems)
    positions = Positions(document)
    form = _validate(ModelSpec, document.data, positions, folder, problems)
    specs = _variants(document, form, absolute, folder, problems)
    if not problems and form is not None:
        built = [OrderedVariant(spec, first=number == 0) for number, spec in enumerate(specs)]
        problems += [_cycle_problem(loop, document) for loop in cycles(built)]
        if not problems:
            return Recipe(absolute, form.name, form.version, specs, folder.reads(), document), ()
    return None, _in_order(problems)


def _validate(
    model: type[AnyForm], data: Any, positions: Positions, folder: RecipeFolder, problems: list[Problem]
) -> AnyForm | None:
    try:
        return model.model_validate(data, context=folder)
    except ValidationError as error:
        problems += diagnose(error.errors(include_url=False), positions)
        return None


def _variants(
    document: Document, form: ModelSpec | None, path: Path, folder: RecipeFolder, problems: list[Problem]
) -> tuple[ResolvedSpec, ...]:
    """The specs of all points in the matrix; mistakes in the matrix and its values are added to `problems`."""
    matrix_form = form.variants if form else _matrix_form(document, folder)
    matrix = Matrix(document, matrix_form)
    points = matrix.points()
    origins = matrix.positions.origins()
    specs: list[ResolvedSpec] = []
    for point in points:
        whole = form if not point.chosen else _validate(ModelSpec, point.data, point.positions, folder, problems)
        if whole is not None:
            spec = resolve(whole, path, folder, point.positions.replaced_origins(origins))
            label = matrix.label(point, spec.quantization.label, spec.version)
            kept = matrix.label(point, KEEP, spec.version) if spec.kept_variant is not None else None
            specs.append(replace(spec, variant=label, kept_variant=kept))
    problems += matrix.problems
    if form is None or matrix.problems or len(specs) < len(points):
        return ()
    problems += shared_tags(specs, points, matrix) + bad_gates(form, specs, matrix.positions)
    return tuple(with_own_gates(spec, form) for spec in specs)


def _matrix_form(document: Document, folder: RecipeFolder) -> VariantsForm | None:
    """The matrix of a recipe that has mistakes elsewhere; mistakes in the matrix itself were reported already."""
    data = document.data.get("variants")
    return _validate(VariantsForm, data, Positions(document), folder, []) if isinstance(data, dict) else None


def _cycle_problem(loop: tuple[ResolvedSpec, ...], document: Document) -> Problem:
    origin = (loop[0].origins or {}).get("base.from")
    node = next(
        (
            place.value
            for path in (("base", "from"), ("base",))
            if (place := Positions(document).find(path)) is not None
        ),
        document.root,
    )
    way = " → ".join(spec.label for spec in (*loop, loop[0]))
    hint = "build from another artifact, or from a digest: name@sha256:..."
    message = f"`{loop[0].label}` is built from itself: {way}"
    problem = document.problem(Code.CYCLE, message, node, "leads back", hint)
    if origin is None or origin == problem.location:
        return problem
    return replace(problem, location=origin, snippet=None)  # the base is the value of an axis


def _bases_elsewhere(recipe: Recipe) -> list[Problem]:
    folder, document = RecipeFolder(recipe.path), recipe.document
    assert document is not None
    problems = []
    for spec in recipe.variants():
        written = spec.base.as_written if isinstance(spec.base, FolderSource) else None
        if written is None or not folder.is_elsewhere(written):
            continue
        origins = spec.origins or {}
        place = origins.get("base.path") or origins.get("base.gguf") or origins["base"]
        line = document.lines[(place.line or 1) - 1]
        note = f"outside the recipe's {folder.boundary_word}"
        instead = "move the model below the recipe, or name a Hub repository or an artifact"
        hint = f"the artifact names its content instead of its path; for a recipe that works everywhere, {instead}"
        snippet = Snippet(line, place.column or 1, len(written) if written in line else 1, note)
        message = f"the recipe works only where `{written}` is"
        problems.append(Problem(Code.NOT_PORTABLE, message, place, hint, snippet, level="warning"))
    return problems


def _check_json_schemas(path: Path) -> tuple[Problem, ...]:
    document = read(path)
    tests = document.data.get("tests") or []
    problems = []
    for number, gate in enumerate(tests):
        expect = gate.get("complete", {}).get("expect", {})
        if "json_schema" in expect:
            from jsonschema import Draft202012Validator, SchemaError

            try:
                Draft202012Validator.check_schema(expect["json_schema"])
            except SchemaError as error:
                place = ("tests", number, "complete", "expect", "json_schema", *error.absolute_path)
                message = f"not a JSON Schema: {error.message}"
                positions = Positions(document)
                problems.append(positions.at_value(Code.JSON_SCHEMA, message, place, "draft 2020-12 refuses it"))
                continue
            from mlxbuild.toolchain.core.json_schema import refusal

            if (refused := refusal(expect["json_schema"])) is not None:
                place = ("tests", number, "complete", "expect", "json_schema", *refused[0])
                problems.append(Positions(document).at_value(Code.REGEX, refused[1], place, "RE2 does not take it"))
    return tuple(problems)


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    """The problems in file order, without duplicates (variants share most of a recipe) and limited in number."""
    distinct = dict.fromkeys(problems)
    ordered = sorted(distinct, key=lambda it: (it.location.line or 0, it.location.column or 0, it.code))
    return tuple(ordered[:MOST_PROBLEMS])
