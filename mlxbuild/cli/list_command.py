"""`mlxbuild list`: lists the artifacts in the store or in a repository of a registry."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.holding import weights_in_short, weights_told
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say_json, say_table
from mlxbuild.cli.workspace import open_store, tell
from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact.aliases import NamedArtifact, grouped
from mlxbuild.registry.artifact.media_types import TITLE
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.errors import MlxbuildError, UserError
from mlxbuild.registry.core.quantities import format_age, format_bytes
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store

app = typer.Typer(add_completion=False, rich_markup_mode=None)


_REGISTRY = re.compile(r"localhost|[^/:@]+:\d{2,5}|[^/:@]+\.[A-Za-z]{2,}(:\d+)?")
"""A host, or a name with a tag that could only be a port."""


class NoRepository(UserError):
    """A registry is named where a repository is needed."""

    code = "no-repository"


class Order(StrEnum):
    """The order of rows."""

    NAME = "name"
    SIZE = "size"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class _Row:
    named: NamedArtifact
    modified: float
    """When the artifact was added to the store, in seconds since the epoch."""
    size_bytes: int | None = None
    """None if the artifact cannot be read."""
    parameters: str = ""
    weights: str = ""
    short_weights: str = ""
    problem: str = ""


@app.command(
    cls=Command,
    epilog="mlxbuild list\nmlxbuild list '*:int4' --sort size\nmlxbuild list --remote ghcr.io/acme/hello",
)
def list_artifacts(
    pattern: Annotated[
        str | None, typer.Argument(help="Only names that contain this text, or match this pattern with `*`.")
    ] = None,
    sort: Annotated[
        Order, typer.Option(help="By name, by size (the largest first) or by age (the newest first).")
    ] = Order.NAME,
    remote: Annotated[
        str | None, typer.Option("--remote", metavar="REPO", help="List the tags of host/name at its registry instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the artifacts in the store, one row each; their other names are in the column ALSO."""
    if remote is not None:
        _list_remote(remote, as_json=as_json)
        return
    with open_store() as store:
        tags = [(name, descriptor.digest) for name, descriptor in store.tags.items()]
        listed = grouped(tags, lambda digest: manifests.read(store, digest).annotations)
        rows = [_row(store, named) for named in listed if pattern is None or _matches(named, pattern)]
    keys: dict[Order, Callable[[_Row], Any]] = {
        Order.NAME: lambda row: row.named.name,
        Order.SIZE: lambda row: -(row.size_bytes or 0),
        Order.AGE: lambda row: -row.modified,
    }
    rows.sort(key=keys[sort])
    if as_json:
        say_json([_document(row) for row in rows])
    elif rows:
        say_table(("NAME", "DIGEST", "SIZE", "PARAMETERS", "WEIGHTS", "AGE", "ALSO"), [_cells(row) for row in rows])
    elif tags:
        tell(f"no name matches `{pattern}`: `mlxbuild list` shows all")
    else:
        tell("no artifacts yet: build one with `mlxbuild create`, or pull one with `mlxbuild pull`")


def _matches(named: NamedArtifact, pattern: str) -> bool:
    names = (named.name, *named.aliases)
    return any(fnmatchcase(name, pattern) if "*" in pattern else pattern in name for name in names)


def _row(store: Store, named: NamedArtifact) -> _Row:
    try:
        modified = store.path(named.digest).stat().st_mtime
        artifact = Artifact.open(store, named.digest)
        parameters = str(artifact.config.get("config", {}).get("paramSize", ""))
        return _Row(
            named, modified, artifact.size_bytes, parameters, weights_told(artifact), weights_in_short(artifact)
        )
    except MlxbuildError as error:
        return _Row(named, 0.0, problem=error.message)


def _document(row: _Row) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": row.named.name,
        "aliases": list(row.named.aliases),
        "digest": str(row.named.digest),
    }
    if row.problem:
        return told | {"problem": row.problem}
    modified = datetime.fromtimestamp(row.modified, UTC).isoformat(timespec="seconds")
    counts = {"size": row.size_bytes, "parameters": row.parameters, "quantization": row.weights}
    return told | counts | {"modified": modified}


def _cells(row: _Row) -> tuple[str, ...]:
    also = ", ".join(name.rpartition(":")[2] for name in row.named.aliases)
    name, digest = row.named.name, row.named.digest.short
    if row.size_bytes is None:
        return name, digest, "-", "-", row.problem, "-", also
    age = format_age(time.time() - row.modified)
    return name, digest, format_bytes(row.size_bytes), row.parameters, row.short_weights, age, also


def _list_remote(repository: str, *, as_json: bool) -> None:
    from mlxbuild.registry.oci.exchange.catalogue import list_tags

    home = chosen_home()
    if _REGISTRY.fullmatch(repository):
        raise NoRepository(
            f"`{repository}` is a registry, and names no repository of it",
            hint=f"name a repository, such as `{repository}/acme/hello`, or search the registry: "
            f"`mlxbuild search WORD --registry {repository}`",
        )
    tags = list_tags(Reference.parse(repository), settings=Settings.load(home), home=home)
    if as_json:
        say_json(
            [
                {
                    "tag": each.tag,
                    "digest": None if each.digest is None else str(each.digest),
                    "size": each.size_bytes,
                    "type": None if each.manifest is None else each.manifest.artifact_type,
                    "problem": each.problem,
                }
                for each in tags
            ]
        )
    elif tags:
        say_table(
            ("TAG", "DIGEST", "SIZE", "WHAT"),
            [
                (
                    each.tag,
                    "-" if each.digest is None else each.digest.short,
                    "-" if each.size_bytes is None else format_bytes(each.size_bytes),
                    each.problem or (each.manifest.annotations.get(TITLE, "") if each.manifest else ""),
                )
                for each in tags
            ],
        )
    else:
        tell(f"{repository} has no tags")
