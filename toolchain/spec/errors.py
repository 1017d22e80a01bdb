"""The error for a recipe with mistakes."""

from __future__ import annotations

from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.spec.problems import Problem
from mlxbuild.toolchain.spec.report import render


class SpecError(UserError):
    """A recipe that cannot be used; `problems` holds every mistake found, in the order of the file."""

    code = "spec"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first = problems[0]
        count = len(problems)
        message = first.message if count == 1 else f"{count} mistakes in {first.location.file}"
        super().__init__(message, where=first.location, hint=first.hint if count == 1 else None)
        self.problems = problems

    def diagnostics(self) -> str:
        """Every problem with its line and hint, for a terminal without colour."""
        return render(self.problems, "text")
