"""`mlxbuild search`: searches artifacts at registries and models on the Hub by a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say_json, say_table
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.errors import InfrastructureError, MlxbuildError
from mlxbuild.registry.oci.exchange.catalogue import search
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.toolchain.sources.hub import Hub

_TAGS_SHOWN = 8

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild search hello --registry registry.example.com/acme")
def search_word(
    word: Annotated[str, typer.Argument(help="Part of a name; name:tag also filters tags at registries.")],
    registry: Annotated[
        list[str] | None,
        typer.Option("--registry", help="host[/namespace] to search; may be repeated. Default: the default one."),
    ] = None,
    hub: Annotated[bool, typer.Option("--hub/--no-hub", help="Whether to search the Hugging Face Hub.")] = True,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of results from each place.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search registries and the Hub for names that contain a word. A place that does not answer is reported; it is an
    error only if none answers."""
    home = chosen_home()
    settings = Settings.load(home)
    registries = registry or ([settings.default_registry] if settings.default_registry else [])
    rows: list[dict[str, Any]] = []
    failures: list[MlxbuildError] = []
    for place in registries:
        try:
            for found in search(place, word, settings=settings, home=home, limit=limit):
                rows.append({"where": place, "name": found.name, "tags": list(found.tags)})
        except InfrastructureError as error:
            failures.append(error)
    if hub:
        try:
            rows += _on_the_hub(word, limit)
        except MlxbuildError as error:
            failures.append(error)
    if failures and len(failures) == len(registries) + hub:
        *others, last = failures
        for failure in others:
            tell(failure.diagnostics())
        raise last
    for failure in failures:
        tell(f"warning: {failure.message}" + (f" ({failure.where})" if failure.where else ""))
    if not registries:
        tell("no registry was asked: name one with --registry, or set default_registry in config.yaml")
    _print(rows, word, as_json=as_json)


def _on_the_hub(word: str, limit: int) -> list[dict[str, Any]]:
    models = Hub.of(chosen_home()).search(word.partition(":")[0], limit)
    return [{"where": "hub", "name": f"hf.co/{each.repository}", "downloads": each.downloads} for each in models]


def _print(rows: Sequence[dict[str, Any]], word: str, *, as_json: bool) -> None:
    if as_json:
        say_json(rows)
    elif rows:
        say_table(("NAME", "WHAT"), [(row["name"], _what(row)) for row in rows])
    else:
        tell(f"nothing has `{word}` in its name")


def _what(row: dict[str, Any]) -> str:
    if "tags" in row:
        shown, more = row["tags"][:_TAGS_SHOWN], len(row["tags"]) - _TAGS_SHOWN
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return "model on the Hub" if row["downloads"] is None else f"model on the Hub, {row['downloads']} downloads"
