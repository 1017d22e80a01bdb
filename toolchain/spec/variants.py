"""Expands the matrix of a recipe: axes, zips and exclusions give points, each a whole recipe with its own positions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from mlxbuild.registry.core.suggestions import did_you_mean, listed
from mlxbuild.toolchain.spec.document import Document
from mlxbuild.toolchain.spec.fields import keys_of
from mlxbuild.toolchain.spec.positions import NodePosition, Path, Positions
from mlxbuild.toolchain.spec.problems import Code, Problem
from mlxbuild.toolchain.spec.written.recipe import ModelSpec, VariantsForm

MOST_VARIANTS = 256
FIXED = ("schema", "name", "version", "variants", "tests")
"""Keys of the recipe that cannot differ between variants."""
AXES = tuple(key for key in keys_of(ModelSpec) if key not in FIXED)

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class MatrixPoint:
    """One point of the matrix, which becomes a variant."""

    data: dict[str, Any]
    """The recipe's plain data with the values of the axes set and without `variants`."""
    positions: Positions
    chosen: Mapping[str, int]
    """Axis to the index of its value, in the order of the axes."""


class Matrix:
    """Expands the matrix of one recipe; collects problems instead of raising them."""

    def __init__(self, document: Document, form: VariantsForm | None) -> None:
        self.document = document
        self.form = form
        self.positions = Positions(document)
        self.problems: list[Problem] = []
        written: Mapping[str, tuple[Any, ...]] = (form.model_extra if form else None) or {}
        self.axes = {axis: written[axis] for axis in sorted(written, key=_rank)}

    def points(self) -> tuple[MatrixPoint, ...]:
        """All points, with the last axis varying fastest; axes are in ModelSpec's order, whatever the order of keys."""
        rest = {key: value for key, value in self.document.data.items() if key != "variants"}
        if not self.axes and not (self.form and (self.form.zip or self.form.exclude)):
            return (MatrixPoint(rest, self.positions, {}),)
        groups = self._groups()
        self._check_axes()
        if self.problems:
            return ()
        lengths = [len(self.axes[group[0]]) for group in groups]
        count = 1
        for length in lengths:
            count *= length
        if count > MOST_VARIANTS:
            self._report("variants", f"the matrix has {count} variants", f"at most {MOST_VARIANTS}")
            return ()
        self._check_values(groups)
        if self.problems:
            return ()
        choices = []
        for numbers in product(*map(range, lengths)):
            of_group = zip(groups, numbers, strict=True)
            number = {axis: chosen for group, chosen in of_group for axis in group}
            choices.append({axis: number[axis] for axis in self.axes})
        kept = self._without_excluded(choices)
        points = [self._point(rest, chosen) for chosen in kept]
        return tuple(point for point in points if point is not None)

    def label(self, point: MatrixPoint, quantization: str, version: str) -> str:
        """The label of a variant: the recipe's tag template filled in, or the quantization and the other axes."""
        template = self.form.tag if self.form else None
        if template is None:
            others = [axis for axis in self.axes if axis.split(".")[0] != "quantization"]
            template = "-".join(["{quantization}", *(f"{{{axis}}}" for axis in others)])
        known = {"quantization": quantization, "version": version}
        path: Path = ("variants", "tag")

        def fill(match: re.Match[str]) -> str:
            name = match[1]
            if name in known:
                return known[name]
            if name in self.axes or name.split(".")[0] in AXES or name == "name":
                return self._short(point, name)
            places = listed(("quantization", "version", *self.axes))
            hint = did_you_mean(name, (*known, *self.axes)) or f"write one of {places} in braces"
            self.problems.append(
                self.positions.at_value(
                    Code.VARIANTS, f"`tag` names `{name}`, which is not an axis", path, "unknown placeholder", hint
                )
            )
            return "x"

        label = _PLACEHOLDER.sub(fill, template)
        if _LABEL.fullmatch(label) is None:
            self.problems.append(
                self.positions.at_value(
                    Code.VARIANTS,
                    f"`{label[:80]}` cannot be the label of a variant",
                    path,
                    "expected at most 64 letters, digits, `.`, `_` and `-`",
                )
            )
        return label

    def _short(self, point: MatrixPoint, axis: str) -> str:
        """A short text for the value of an axis at a point: the value if it is short and distinct from all others,
        else its number from one.
        """
        value: Any = point.data
        for part in axis.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        text = _short_text(value)
        alike = sum(_short_text(other) == text for other in self.axes.get(axis, ()))
        return text if 0 < len(text) <= 32 and alike <= 1 else str(point.chosen.get(axis, 0) + 1)

    def _groups(self) -> list[tuple[str, ...]]:
        """The axes in groups that advance together (zips), in order."""
        zipped: dict[str, tuple[str, ...]] = {}
        for number, group in enumerate((self.form.zip if self.form else None) or ()):
            for position, axis in enumerate(group):
                path: Path = ("variants", "zip", number, position)
                if axis not in self.axes:
                    self._no_axis(axis, path)
                elif axis in zipped or axis in group[:position]:
                    self._report_at(path, f"the axis `{axis}` is zipped twice", "already in a group")
            lengths = {axis: len(self.axes[axis]) for axis in group if axis in self.axes}
            if len(set(lengths.values())) > 1:
                said = ", ".join(f"`{axis}` has {length}" for axis, length in lengths.items())
                message = f"zipped axes have different lengths: {said}"
                hint = "give each of them the same number of values"
                self._report_at(("variants", "zip", number), message, "these advance together", hint)
            for axis in group:
                zipped.setdefault(axis, group)
        groups = [zipped.get(axis, (axis,)) for axis in self.axes]
        return list(dict.fromkeys(groups))

    def _check_axes(self) -> None:
        for axis in self.axes:
            first = axis.split(".")[0]
            path: Path = ("variants", axis)
            if first in FIXED:
                hint = "write a second recipe" if first != "tests" else "restrict a test with `only`"
                note = "all variants share it"
                self.problems.append(
                    self.positions.at_key(Code.VARIANTS, f"`{first}` cannot be an axis", path, note, hint)
                )
            elif first not in AXES:
                hint = did_you_mean(axis, AXES) or f"an axis is a key of the recipe: {listed(AXES)}"
                self.problems.append(
                    self.positions.at_key(Code.VARIANTS, f"unknown axis `{axis}`", path, "no key of a recipe", hint)
                )

    def _check_values(self, groups: list[tuple[str, ...]]) -> None:
        """Check that no point occurs twice, because axes that advance together repeat their values."""
        for group in groups:
            values = [self.axes[axis] for axis in group]
            for number in range(1, min(map(len, values))):
                first = next((n for n in range(number) if all(_same(each[n], each[number]) for each in values)), None)
                if first is not None:
                    message = f"two values of {listed(group)} are equal"
                    note = f"the same as value {first + 1}"
                    self._report_at(("variants", group[0], number), message, note, "write different values")

    def _without_excluded(self, choices: list[dict[str, int]]) -> list[dict[str, int]]:
        kept = choices
        for number, excluded in enumerate((self.form.exclude if self.form else None) or ()):
            path: Path = ("variants", "exclude", number)
            unknown = [axis for axis in excluded if axis not in self.axes]
            for axis in unknown:
                self._no_axis(axis, (*path, axis))
            if unknown:
                continue
            out = [
                chosen
                for chosen in choices
                if all(_same(self.axes[axis][chosen[axis]], value) for axis, value in excluded.items())
            ]
            if not out:
                self._report_at(path, "`exclude` matches no variant", "no such point in the matrix")
            kept = [chosen for chosen in kept if chosen not in out]
        if not kept and not self.problems:
            self._report("exclude", "`exclude` leaves no variant", "nothing is left to build")
        return kept

    def _point(self, rest: dict[str, Any], chosen: dict[str, int]) -> MatrixPoint | None:
        data = dict(rest)
        replaced: dict[Path, NodePosition] = {}
        for axis, number in chosen.items():
            *parents, last = path = tuple(axis.split("."))
            target = data
            for depth, parent in enumerate(parents, 1):
                below = target.get(parent)
                if below is not None and not isinstance(below, dict):
                    message = f"the axis `{axis}` cannot be set: `{'.'.join(path[:depth])}` is not a map"
                    hint = f"make `{path[0]}` the axis, with whole values"
                    self._report(axis, message, "needs a map there", hint)
                    return None
                target[parent] = target = dict(below or {})
            target[last] = self.axes[axis][number]
            key, value = self.positions.find(("variants", axis)), self.positions.find(("variants", axis, number))
            assert key is not None
            assert value is not None
            for below_it in [other for other in replaced if other[: len(path)] == path]:
                del replaced[below_it]
            replaced[path] = NodePosition(key.key, value.value)
        return MatrixPoint(data, Positions(self.document, replaced), chosen)

    def _no_axis(self, axis: str, path: Path) -> None:
        hint = did_you_mean(axis, self.axes) or f"the axes are {listed(self.axes)}" if self.axes else None
        self._report_at(path, f"`{axis}` is not an axis of the matrix", "not among the axes", hint)

    def _report(self, key: str, message: str, note: str, hint: str | None = None) -> None:
        path: Path = ("variants",) if key == "variants" else ("variants", key)
        self.problems.append(self.positions.at_key(Code.VARIANTS, message, path, note, hint))

    def _report_at(self, path: Path, message: str, note: str, hint: str | None = None) -> None:
        self.problems.append(self.positions.at_value(Code.VARIANTS, message, path, note, hint))


def _short_text(value: Any) -> str:
    """A value as a part of a label; empty if it is not a single word or number."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    return _UNFIT.sub("-", value).strip("-.") if isinstance(value, str) else ""


def _rank(axis: str) -> tuple[int, str]:
    first = axis.split(".")[0]
    return (AXES.index(first) if first in AXES else len(AXES), axis)


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
