"""`mlxbuild search`: searches the store, registries and the Hub for a word, all at once and in a few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import StreamedTable, say_json
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.errors import InfrastructureError, MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.quantities import format_seconds
from mlxbuild.registry.oci.exchange.catalogue import search
from mlxbuild.registry.oci.remote.errors import RegistryTooSlow
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.sources.hub import Hub

_TAGS_SHOWN = 8
_MOST_ATTEMPTS = 2
_LATE_HINT = "allow more time with `--timeout`"

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one place found, and why it did not find more, if it failed."""

    place: str
    rows: tuple[_Row, ...]
    failure: MlxbuildError | None = None

    @property
    def left_out(self) -> str:
        """The line that tells what is missing, and why."""
        assert self.failure is not None
        where = f" ({self.failure.where})" if self.failure.where else ""
        return f"left out{' more of' if self.rows else ''} {self.place}: {self.failure.message}{where}"


@app.command(cls=Command, epilog="mlxbuild search hello --registry registry.example.com/acme")
def search_word(
    word: Annotated[str, typer.Argument(help="Part of a name; name:tag also filters tags, except on the Hub.")],
    registry: Annotated[
        list[str] | None,
        typer.Option("--registry", help="host[/namespace] to search; may be repeated. Default: the default one."),
    ] = None,
    hub: Annotated[
        bool | None,
        typer.Option("--hub/--no-hub", help="Whether to search the Hugging Face Hub. Default: without --registry."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of results from each place.")] = 20,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=3600, help="The time for all places together.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search the store, registries and the Hub for names that contain a word. What a place that does not answer in
    time leaves out is reported; it is an error only if nothing was found and no place answered."""
    home = chosen_home()
    settings = Settings.load(home)
    registries = registry or ([settings.default_registry] if settings.default_registry else [])
    rows = _in_store(home, word, limit)
    table = StreamedTable(("NAME", "WHAT"))
    failed: list[_Answer] = []
    if not as_json:
        table.add(_cells(rows))
    with cancellation.threads(len(registries) + 1) as pool:
        asked = [pool.submit(_at_registry, place, word, settings, home, limit, timeout) for place in registries]
        if hub or (hub is None and not registry):
            asked.append(pool.submit(_on_hub, home, word, limit, timeout))
        for future in asked:
            answer = future.result()
            rows += answer.rows
            if answer.failure is not None:
                failed.append(answer)
            if not as_json:
                table.add(_cells(answer.rows))
    if failed and not rows and len(failed) == len(asked):
        *others, last = failed
        for answer in others:
            assert answer.failure is not None
            tell(answer.failure.diagnostics())
        assert last.failure is not None
        raise last.failure
    if failed:
        tell(f"warning: {'; '.join(answer.left_out for answer in failed)}")
    if not registries:
        tell("no registry was asked: name one with --registry, or set default_registry in config.yaml")
    if as_json:
        say_json(rows)
    elif not rows:
        tell(f"nothing has `{word}` in its name")


def _in_store(home: Home, word: str, limit: int) -> list[_Row]:
    """The names of the store, if there is one."""
    if not home.store.is_dir():
        return []
    wanted, _, tag = word.lower().partition(":")
    tags: dict[str, list[str]] = {}
    for name, _ in Store.open(home).tags.items():
        repository, _, its_tag = name.rpartition(":")
        if wanted in repository and tag in its_tag.lower():
            tags.setdefault(repository, []).append(its_tag)
    return [{"where": "store", "name": name, "tags": tags[name]} for name in sorted(tags)[:limit]]


def _at_registry(place: str, word: str, settings: Settings, home: Home, limit: int, seconds: float) -> _Answer:
    brief = replace(
        settings,
        attempts=min(settings.attempts, _MOST_ATTEMPTS),
        connect_seconds=min(settings.connect_seconds, seconds / 2),
    )

    def late() -> Exception:
        return RegistryTooSlow(f"no whole answer within {format_seconds(seconds)}", where=place, hint=_LATE_HINT)

    def found() -> Iterator[_Row]:
        for each in search(place, word, settings=brief, home=home, limit=limit):
            yield {"where": place, "name": each.name, "tags": list(each.tags)}

    with cancellation.until(time.monotonic() + seconds, late):
        return _answer(place, found, InfrastructureError)


def _on_hub(home: Home, word: str, limit: int, seconds: float) -> _Answer:
    def found() -> Iterator[_Row]:
        for each in Hub.of(home).answering_within(seconds).search(word.partition(":")[0], limit):
            yield {"where": "hub", "name": f"hf.co/{each.repository}", "downloads": each.downloads}

    return _answer("the Hub", found, MlxbuildError)


def _answer(place: str, found: Callable[[], Iterator[_Row]], expected: type[MlxbuildError]) -> _Answer:
    rows: list[_Row] = []
    try:
        rows.extend(found())
    except expected as error:
        return _Answer(place, tuple(rows), error)
    return _Answer(place, tuple(rows))


def _cells(rows: Sequence[_Row]) -> list[tuple[str, str]]:
    return [(row["name"], _what(row)) for row in rows]


def _what(row: _Row) -> str:
    if "tags" in row:
        shown, more = row["tags"][:_TAGS_SHOWN], len(row["tags"]) - _TAGS_SHOWN
        listed = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
        return f"in the store: {listed}" if row["where"] == "store" else listed
    return "model on the Hub" if row["downloads"] is None else f"model on the Hub, {row['downloads']} downloads"
