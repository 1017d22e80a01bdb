"""`mlxbuild rm`: removes names; their blobs stay until `gc`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say
from mlxbuild.cli.workspace import find, open_store, tell
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class NotConfirmed(UserError):
    """Several names would be removed, and nobody has confirmed it."""

    code = "not-confirmed"


@app.command(cls=Command, epilog=("mlxbuild rm hello:stable\nmlxbuild rm 'hello:int8*' --yes"))
def remove(
    names: Annotated[list[str], typer.Argument(help="Names of artifacts, or patterns such as `'hello:*'`.")],
    every_name: Annotated[
        bool,
        typer.Option(
            "--all-names",
            help="Also remove the other names of each artifact; a name without a tag is then the whole model.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Remove what a pattern matches without a question.")] = False,
) -> None:
    """Remove names. `mlxbuild gc` then frees what nothing else needs.

    A pattern or a whole model is removed after a question on a terminal, and elsewhere only with `--yes`.
    """
    with open_store() as store:
        doomed: dict[str, None] = {}
        for name in names:
            doomed |= dict.fromkeys(sorted(_meant(store, name, every_name=every_name)))
        if any(_is_whole(name, every_name=every_name) for name in names) and not yes:
            _confirm(list(doomed))
        removed = {descriptor.digest: None for tag, descriptor in store.tags.items() if tag in doomed}
        for tag in doomed:
            store.tags.remove(tag)
            say(f"removed {tag}")
        _tell_what_stays(store, removed)


def _is_whole(name: str, *, every_name: bool) -> bool:
    """Whether a word stands for more than one artifact."""
    return "*" in name or (every_name and ":" not in name.rpartition("/")[2] and "@" not in name)


def _meant(store: Store, name: str, *, every_name: bool) -> set[str]:
    """The names in the store that a word on the command line stands for."""
    if _is_whole(name, every_name=every_name):
        pattern = name if "*" in name else f"{name}:*"
        found = {tag for tag, _ in store.tags.items() if fnmatchcase(tag, pattern)}
        if not found and "*" in name:
            raise UnknownReference(f"no name in the store matches `{name}`", hint="`mlxbuild list` shows the names")
        if found:
            return found | (_names_of(store, found) if every_name else set())
    reference, digest = find(store, name)
    if reference.digest is not None:
        return {tag for tag, descriptor in store.tags.items() if descriptor.digest == digest}
    return {reference.store_name} | (_names_of(store, {reference.store_name}) if every_name else set())


def _names_of(store: Store, names: Iterable[str]) -> set[str]:
    """All names of the artifacts that have these names."""
    tags = dict(store.tags.items())
    digests = {tags[name].digest for name in names}
    return {tag for tag, descriptor in tags.items() if descriptor.digest in digests}


def _tell_what_stays(store: Store, lost: Collection[Digest]) -> None:
    """Tell which names still keep each artifact that has lost some, and how to free what no name needs."""
    left = {digest: sorted(tag for tag, named in store.tags.items() if named.digest == digest) for digest in lost}
    for first, *others in filter(None, left.values()):
        more = f" and {len(others)} more name{'' if len(others) == 1 else 's'}" if others else ""
        keep = f"`{first}`{more} still keep{'' if others else 's'} it"
        tell(f"{keep}: `mlxbuild rm --all-names {first}` removes all")
    if not all(left.values()):
        tell("`mlxbuild gc` frees the disk of what no name needs")


def _confirm(doomed: list[str]) -> None:
    """Ask a person at a terminal.

    Raises:
        NotConfirmed: nobody is at a terminal, or the answer is no.
    """
    tell(f"this removes {len(doomed)} name{'' if len(doomed) == 1 else 's'}: {', '.join(doomed)}")
    if not sys.stdin.isatty():
        raise NotConfirmed("nothing was removed", hint="add --yes to remove them without a question")
    if not typer.confirm("remove them?", err=True):
        raise NotConfirmed("nothing was removed")
