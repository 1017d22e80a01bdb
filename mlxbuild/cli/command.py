"""The class of all commands: their help names values in capitals, and ends with examples."""

from __future__ import annotations

from typing import Any

from typer.core import TyperArgument, TyperCommand

_KINDS = {"int": "NUMBER", "int range": "NUMBER", "float": "NUMBER", "float range": "NUMBER", "path": "PATH"}


class Command(TyperCommand):
    """A command whose epilog is examples, one a line."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        for parameter in self.params:
            if parameter.metavar is None:
                parameter.metavar = _placeholder(parameter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the name in `Usage:`, without the braces that Typer puts around required arguments."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples as they are, however long."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _placeholder(parameter: Any) -> str:
    """What stands for a value in help."""
    name = str(parameter.name).upper().replace("_", "-")
    if not isinstance(parameter, TyperArgument):
        choices = getattr(parameter.type, "choices", ())
        return "|".join(choices) or _KINDS.get(parameter.type.name, name)
    if parameter.nargs == 1:
        return name
    return f"{name}..." if parameter.required else f"[{name}]..."
