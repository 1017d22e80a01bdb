"""`mlxbuild version`: prints the versions that determine the results of a build."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import typer

from mlxbuild import __version__
from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say, say_json

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_DISTRIBUTIONS = ("mlx", "mlx-lm", "tokenizers", "huggingface-hub", "oras", "sanic")


@app.command(cls=Command, epilog="mlxbuild version --json")
def show_version(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Print the versions that determine the results of a build."""
    versions = {"mlxbuild": __version__, "python": platform.python_version(), "machine": platform.machine()}
    versions |= {name: installed(name) for name in _DISTRIBUTIONS}
    if as_json:
        say_json(versions)
        return
    say(f"mlxbuild {__version__}")
    for name, found in list(versions.items())[1:]:
        say(f"  {name} {found}")


def installed(distribution: str) -> str:
    """The installed version of a distribution, or `missing`."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "missing"
