"""`mlxbuild serve`: serves the models of the store over HTTP."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.server.listening import listen
from mlxbuild.runtime.server.security.api_keys import KeyRing

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class NoApiKeys(UserError):
    """Other machines could reach the server, but it has no API keys."""

    code = "no-api-keys"


@app.command(cls=Command, epilog=("mlxbuild serve\nmlxbuild serve --host 0.0.0.0 --memory 20GB --log stderr"))
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 means any free port. Default: 11434.")] = None,
    api_key: Annotated[
        bool | None,
        typer.Option("--api-key/--no-api-key", help="Require API keys. Default: unless the address is loopback."),
    ] = None,
    log: Annotated[str | None, typer.Option(metavar="file|stderr", help="Where the log goes. Default: file.")] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="The memory for all models, such as 20GB. Default: 4/5 of what is left."),
    ] = None,
    keep_alive: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long models stay in memory, such as 1h; -1 means forever. Default: 5m."),
    ] = None,
    models: Annotated[int | None, typer.Option(min=0, help="How many models may be in memory. Default: 3.")] = None,
) -> None:
    """Serve the models of the store over the Ollama, OpenAI and Anthropic APIs, until it is interrupted.

    Settings come from `serve` in config.yaml and from MLXBUILD_* and OLLAMA_* variables: see `mlxbuild config show`.
    """
    import asyncio

    from mlxbuild.configuration.resolve import configure
    from mlxbuild.configuration.unknown_variables import unknown_variables
    from mlxbuild.serving.first_models import require_first_models

    for sentence in unknown_variables(os.environ):
        tell(f"warning: {sentence}")
    home = chosen_home()
    asked = {None: None, True: "always", False: "never"}[api_key]
    options = {
        "host": host,
        "port": port,
        "api_keys": asked,
        "log": log,
        "memory": memory,
        "keep_alive": keep_alive,
        "max_loaded_models": models,
    }
    configuration = configure(home, os.environ, options)
    # Errors in the home or the names are reported before the server announces its address.
    store = Store.open(home)
    keys = KeyRing(home).keys()  # a file that is broken is told also where none is asked for: somebody made keys
    if configuration.asks_for_key and not keys:
        raise NoApiKeys(
            f"a server on {configuration.form.host} asks for API keys, and there are none",
            hint="make one with `mlxbuild config add-key NAME`, or let everybody in with --no-api-key",
        )
    require_first_models(store, configuration)
    listening = listen(configuration.form.host, configuration.form.port)
    address, bound, *_ = listening.getsockname()
    tell(f"listening on http://{f'[{address}]' if ':' in address else address}:{bound}")
    from mlxbuild.serving.process import run  # only now: the import takes long

    asyncio.run(run(home, configuration, listening))
