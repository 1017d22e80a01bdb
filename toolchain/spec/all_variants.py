"""Checks that need all variants of a recipe: tags that two of them share, and tests of unknown variants."""

from __future__ import annotations

from dataclasses import replace

from mlxbuild.registry.core.suggestions import did_you_mean, listed
from mlxbuild.toolchain.spec.cycles import OrderedVariant
from mlxbuild.toolchain.spec.positions import Path, Positions
from mlxbuild.toolchain.spec.problems import Code, Problem
from mlxbuild.toolchain.spec.resolved import ResolvedSpec
from mlxbuild.toolchain.spec.variants import Matrix, MatrixPoint
from mlxbuild.toolchain.spec.written.recipe import ModelSpec


def shared_tags(specs: list[ResolvedSpec], points: tuple[MatrixPoint, ...], matrix: Matrix) -> list[Problem]:
    """Variants that would move the same tag, because their labels are equal or one reads as another's tag."""
    owners: dict[str, int] = {}
    problems = []
    for number, spec in enumerate(specs):
        names = tuple(OrderedVariant(spec, first=number == 0).names())
        shared = next((name for name in names if name in owners), None)
        if shared is not None:
            other = owners[shared]
            problems.append(_shared_tag(spec, shared, points[other], points[number], specs[other], matrix))
        owners = dict.fromkeys(names, number) | owners
    return problems


def _shared_tag(
    spec: ResolvedSpec, tag: str, first: MatrixPoint, second: MatrixPoint, other: ResolvedSpec, matrix: Matrix
) -> Problem:
    differing = [axis for axis in matrix.axes if first.chosen[axis] != second.chosen[axis]]
    same_label = spec.variant == other.variant
    message = f"`{other.variant}` and `{spec.variant}` share the tag `{tag}`"
    if same_label:
        message = f"two variants are called `{spec.variant}`"
    path: Path = ("variants", differing[0], second.chosen[differing[0]])
    has_tag = matrix.form is not None and matrix.form.tag is not None
    if has_tag:
        path = ("variants", "tag")
    if not same_label:
        hint = "choose labels that are no other variant's tag" if has_tag else "write different values, or set `tag`"
    elif differing != ["quantization"] or spec.quantization.label != other.quantization.label:
        hint = f'distinguish them: tag: "{"-".join(f"{{{axis}}}" for axis in matrix.axes)}"'
    elif spec.quantization != other.quantization:
        path = ("variants", "quantization", second.chosen["quantization"])
        hint = "give each of these maps a label of its own: {label: first, ...}"
    else:
        hint = "write different values"
    return matrix.positions.at_value(Code.VARIANTS, message, path, f"they differ in {listed(differing)}", hint)


def bad_gates(form: ModelSpec, specs: list[ResolvedSpec], positions: Positions) -> list[Problem]:
    """Tests with the same name, or restricted to variants that the recipe does not have."""
    labels = [*dict.fromkeys(label for spec in specs for label in spec.labels)]
    names: set[str] = set()
    problems = []
    for number, gate in enumerate(form.tests or ()):
        if gate.name is not None and gate.name in names:
            path = ("tests", number, "name")
            message = f"two tests are called `{gate.name}`"
            problems.append(positions.at_value(Code.VALUE, message, path, "names must differ"))
        if gate.name is not None:
            names.add(gate.name)
        for position, label in enumerate(gate.only or ()):
            if label not in labels:
                message = f"`only` names `{label}`, which is not a variant"
                hint = did_you_mean(label, labels) or f"the variants are {listed(labels)}"
                path_of_label = ("tests", number, "only", position)
                problems.append(positions.at_value(Code.VARIANTS, message, path_of_label, "unknown variant", hint))
    return problems


def with_own_gates(spec: ResolvedSpec, form: ModelSpec) -> ResolvedSpec:
    """The spec with only those gates whose `only` names its variant or is not set."""
    written = form.tests or ()
    if all(gate.only is None for gate in written):
        return spec
    kept = (
        gate for gate, of in zip(spec.gates, written, strict=True) if of.only is None or {*spec.labels} & {*of.only}
    )
    return replace(spec, gates=tuple(kept))
