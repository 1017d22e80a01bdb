"""Warns of a license that is no SPDX expression, if the list of licenses that `packaging` carries is installed."""

from __future__ import annotations

from mlxbuild.registry.core.errors import Location
from mlxbuild.registry.core.suggestions import did_you_mean
from mlxbuild.toolchain.spec.problems import Code, Problem
from mlxbuild.toolchain.spec.recipe import Recipe

try:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
    from packaging.licenses._spdx import LICENSES
except ImportError:  # before packaging 24.2
    _HAS_LICENSES = False
else:
    _HAS_LICENSES = True


def license_problems(recipe: Recipe) -> tuple[Problem, ...]:
    """A warning for each license of a recipe with an identifier that SPDX does not know."""
    found = {}
    for spec in recipe.variants() if _HAS_LICENSES else ():
        if spec.license is None:
            continue
        try:
            canonicalize_license_expression(spec.license)
        except InvalidLicenseExpression:
            known = [each["id"] for each in LICENSES.values()]
            place = (spec.origins or {}).get("license", Location(str(recipe.path)))
            hint = did_you_mean(spec.license, known) or "https://spdx.org/licenses lists them"
            message = f"`{spec.license}` is not an SPDX expression"
            found[message] = Problem(Code.VALUE, message, place, hint, level="warning")
    return tuple(found.values())
