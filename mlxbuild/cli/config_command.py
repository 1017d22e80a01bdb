"""`mlxbuild config`: the server's settings and its API keys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say, say_json, say_table
from mlxbuild.cli.workspace import open_store, tell
from mlxbuild.registry.oci.remote.settings import OVERRIDING, Settings
from mlxbuild.runtime.server.security.api_keys import KeyRing

if TYPE_CHECKING:
    from mlxbuild.configuration.change import Change

app = typer.Typer(
    help="Show and set the server's settings, and manage its API keys.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def _config() -> None:
    """Show and set the server's settings, and manage its API keys."""


@app.command("show", cls=Command, epilog="mlxbuild config show --origin")
def show(
    origin: Annotated[bool, typer.Option("--origin", help="Show where each value comes from.")] = False,
    as_json: Json = False,
) -> None:
    """Print the settings that `mlxbuild serve` would use now: config.yaml, overridden by the environment."""
    from mlxbuild.configuration.resolve import configure
    from mlxbuild.configuration.unknown_variables import unknown_variables

    for sentence in unknown_variables(os.environ):
        tell(f"warning: {sentence}")
    configuration = configure(chosen_home(), os.environ)
    values: dict[str, Any] = configuration.form.model_dump(mode="json")
    if as_json:
        told = {key: {"value": value, "origin": configuration.origins[key]} for key, value in values.items()}
        say_json(told if origin else values)
        return
    from mlxbuild.configuration.form import as_written

    rows = [(key, _written(as_written(key, value)), configuration.origins[key]) for key, value in values.items()]
    headings = ("SETTING", "VALUE", "ORIGIN")
    say_table(headings if origin else headings[:2], rows if origin else [row[:2] for row in rows])


@app.command("get", cls=Command, epilog="mlxbuild config get memory")
def get_value(
    key: Annotated[str, typer.Argument(help="A setting, such as memory or default_registry.")],
    as_json: Json = False,
) -> None:
    """Print the value of one setting of the server or of the registries, as commands would use it now."""
    from mlxbuild.configuration.change import located
    from mlxbuild.configuration.resolve import configure

    section, key = located(key)
    if section is None:
        value: Any = getattr(Settings.load(chosen_home()), key)
        value = sorted(value) if isinstance(value, frozenset) else value
        value = {host: list(mirrors) for host, mirrors in value.items()} if key == "mirrors" else value
        value = str(value) if key == "ca" and value is not None else value
    else:
        value = configure(chosen_home(), os.environ).form.model_dump(mode="json")[key]
    if as_json:
        say_json(value)
    else:
        say(_written(value))


@app.command(
    "set", cls=Command, epilog="mlxbuild config set memory 20GB", context_settings={"ignore_unknown_options": True}
)  # values such as -1 are no options
def set_value(
    key: Annotated[str, typer.Argument(help="A setting, such as memory or default_registry.")],
    value: Annotated[str, typer.Argument(help="Its value; lists are separated by commas.")],
) -> None:
    """Write a setting of the server or of the registries into config.yaml; its comments and other lines stay."""
    from mlxbuild.configuration.change import set_setting

    _tell_change(set_setting(chosen_home(), key, value))


@app.command("unset", cls=Command, epilog="mlxbuild config unset memory")
def unset_value(key: Annotated[str, typer.Argument(help="A setting, such as memory.")]) -> None:
    """Remove a setting of the server or of the registries from config.yaml, so that its default applies."""
    from mlxbuild.configuration.change import unset_setting

    _tell_change(unset_setting(chosen_home(), key))


def _tell_change(change: Change) -> None:
    """Print what changed, and whether it has an effect."""
    from mlxbuild.configuration.environment import from_environment
    from mlxbuild.configuration.form import ServeForm

    if change.section is None:
        default: Any = getattr(Settings(), change.key)
        overriding = {key: (os.environ[name], name) for key, name in OVERRIDING.items() if os.environ.get(name)}
    else:
        default = ServeForm.model_validate({}).model_dump(mode="json")[change.key]
        overriding = from_environment(os.environ)
    before, after = (_written(default if value is None else value) for value in (change.before, change.after))
    if change.before == change.after:
        say(f"{change.name} is {after} already")
    else:
        say(f"{change.name}: {before} → {after}{' (the default)' if change.after is None else ''}")
        if change.section is not None:
            tell("restart the server to apply it")
    if change.key in overriding:
        value, variable = overriding[change.key]
        tell(f"warning: {variable} in the environment overrides it with {value}")


def _written(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        value = [f"{key}={each}" for key, each in value.items()]
    return ", ".join(value) or "-" if isinstance(value, list | frozenset) else str(value)


@app.command("add-key", cls=Command, epilog="mlxbuild config add-key alice")
def add_key(name: Annotated[str, typer.Argument(help="The name of its owner, which the log shows.")]) -> None:
    """Create an API key and print it once: only its hash is stored."""
    with open_store() as store:
        say(KeyRing(store.home).add(name))
    tell("keep it: it cannot be shown again")


@app.command("keys", cls=Command, epilog="mlxbuild config keys")
def keys(as_json: Json = False) -> None:
    """List the API keys by name."""
    with open_store() as store:
        known = KeyRing(store.home).keys()
    if as_json:
        say_json([{"name": key.name, "created_at": key.created_at} for key in known])
    elif known:
        say_table(("NAME", "CREATED"), [(key.name, key.created_at) for key in known])
    else:
        tell("no API keys: `mlxbuild config add-key NAME` makes one")


@app.command("remove-key", cls=Command, epilog="mlxbuild config remove-key alice")
def remove_key(name: Annotated[str, typer.Argument(help="The name of the key to remove.")]) -> None:
    """Remove an API key; a running server refuses it from then on."""
    with open_store() as store:
        KeyRing(store.home).remove(name)
    say(f"removed {name}")
