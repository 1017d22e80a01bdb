"""`mlxbuild keygen`: creates a key pair for signing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.trust.errors import KeyUnusable
from mlxbuild.registry.trust.keys import PASSWORD_VARIABLE, folder, generate, password_from_environment, write_pair

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild keygen acme")
def make_keys(
    name: Annotated[str, typer.Argument(help="Name of the pair: NAME.key and NAME.pub.")] = "mlxbuild",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER", help="The folder to write to. Default: `keys` in the home."),
    ] = None,
) -> None:
    """Create a key pair (ECDSA over P-256). MLXBUILD_KEY_PASSWORD, if set, encrypts the private key."""
    if not name or Path(name).name != name or name.startswith("."):
        raise KeyUnusable(
            "the name of a key pair is one plain word", where=name, hint="choose the folder with `--output`"
        )
    password = password_from_environment()
    key = generate()
    private = (output or folder(chosen_home())) / f"{name}.key"
    say(str(private))
    say(str(write_pair(key, private, password)))
    tell(f"{key.public.fingerprint}: keep {private.name} secret, and give {name}.pub to those who verify")
    if password is None:
        tell(f"the private key is not encrypted: set {PASSWORD_VARIABLE} before `keygen` for one that is")
