"""`mlxbuild serve`: the models of the store, over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.workspace import tell

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 11434,
) -> None:
    """Serve the models of the store over the Ollama, OpenAI and Anthropic APIs, until it is interrupted."""
    import asyncio

    from mlxbuild.serving.assembly import assemble
    from mlxbuild.serving.process import run
    from registry.home import Home
    from runtime.server.serving import listen
    from runtime.server.settings import ServerSettings

    listening = listen(host, port)
    settings = ServerSettings(host, port)
    address, bound, *_ = listening.getsockname()
    tell(f"listening on http://{f'[{address}]' if ':' in address else address}:{bound}")
    asyncio.run(run(lambda: assemble(Home.from_environment(), settings), listening))
