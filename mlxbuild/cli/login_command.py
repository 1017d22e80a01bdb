"""`mlxbuild login`: logs in to a registry, and stores the credentials where Docker does."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.oci.remote import login as logins
from mlxbuild.registry.oci.remote.credentials import Credential
from mlxbuild.registry.oci.remote.errors import RealmNotAllowed
from mlxbuild.registry.oci.remote.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class NoPassword(UserError):
    """A login has no user or no password, and there is nobody to ask."""

    code = "no-password"


@app.command(
    cls=Command, epilog=("mlxbuild login ghcr.io\nmlxbuild login ghcr.io --username acme --password-stdin < token.txt")
)
def login(
    host: str = typer.Argument(help="The registry, such as ghcr.io or docker.io."),
    username: Annotated[str, typer.Option("--username", "-u", help="The user; asked for if not given.")] = "",
    from_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
) -> None:
    """Log in to a registry. The password is checked, then stored in Docker's credential file or helper.

    If the registry wants it sent to another host, you are asked once on a terminal; `registries.yaml` keeps the answer.
    """
    settings = Settings.load(chosen_home())
    endpoint = logins.registry(host, settings)
    if from_stdin and not username:
        raise NoPassword("--password-stdin needs --username", hint="give both")
    if not from_stdin and not sys.stdin.isatty():
        raise NoPassword("there is no terminal to ask for the password", hint="use --username and --password-stdin")
    username = username or typer.prompt("User", err=True)
    password = sys.stdin.readline() if from_stdin else typer.prompt("Password", hide_input=True, err=True)
    password = password.rstrip("\r\n")
    if not password:
        raise NoPassword("the password is empty", hint="type it, or give it on stdin with --password-stdin")
    credential = Credential(username, password)
    try:
        logins.check(endpoint, credential, settings)
    except RealmNotAllowed as refusal:
        if from_stdin or not _allowed(endpoint.host, refusal.realm):
            raise
        logins.check(
            endpoint, credential, replace(settings, realms=settings.realms.extended(endpoint.host, refusal.realm))
        )
        settings.realms.keep(endpoint.host, refusal.realm)
    tell(f"logged in to {endpoint.host} as {username}; kept in {logins.keep(endpoint, credential)}")


def _allowed(host: str, realm: str) -> bool:
    return typer.confirm(f"{host} wants the password sent to {realm}. Is that its token service?", err=True)
