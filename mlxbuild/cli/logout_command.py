"""`mlxbuild logout`: removes the credentials of a registry."""

from __future__ import annotations

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.oci.remote import login as logins
from mlxbuild.registry.oci.remote.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild logout ghcr.io")
def logout(host: str = typer.Argument(help="The registry, such as ghcr.io or docker.io.")) -> None:
    """Remove the credentials that `mlxbuild login` or `docker login` stored for a registry."""
    endpoint = logins.registry(host, Settings.load(chosen_home()))
    tell(f"logged out of {endpoint.host}" if logins.forget(endpoint) else f"not logged in to {endpoint.host}")
