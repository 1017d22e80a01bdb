"""`mlxbuild list`: lists the artifacts in the store or in a repository of a registry."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.holding import weights_told
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say_json, say_table
from mlxbuild.cli.workspace import open_store, tell
from mlxbuild.registry.artifact.media_types import TITLE
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog=("mlxbuild list\nmlxbuild list --remote ghcr.io/acme/hello"))
def list_artifacts(
    remote: Annotated[
        str | None, typer.Option("--remote", metavar="REPO", help="List the tags of host/name at its registry instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the artifacts in the store with their names, digests and sizes."""
    if remote is not None:
        _list_remote(remote, as_json=as_json)
        return
    rows: list[dict[str, object]] = []
    with open_store() as store:
        for name, descriptor in sorted(store.tags.items()):
            row: dict[str, object] = {"name": name, "digest": str(descriptor.digest)}
            try:
                artifact = Artifact.open(store, descriptor.digest)
            except MlxbuildError as error:
                row |= {"problem": error.message}
            else:
                settings = artifact.config.get("config", {})
                row |= {
                    "size": artifact.size_bytes,
                    "parameters": settings.get("paramSize", ""),
                    "quantization": weights_told(artifact),
                }
            rows.append(row)
    if as_json:
        say_json(rows)
    elif rows:
        say_table(
            ("NAME", "DIGEST", "SIZE", "PARAMETERS", "WEIGHTS"),
            [
                (
                    str(row["name"]),
                    str(row["digest"])[7:19],
                    format_bytes(float(str(row["size"]))) if "size" in row else "-",
                    str(row.get("parameters", "-")),
                    str(row.get("quantization", row.get("problem", ""))),
                )
                for row in rows
            ],
        )
    else:
        tell("no artifacts yet: build one with `mlxbuild create -f ModelSpec.yaml`")


def _list_remote(repository: str, *, as_json: bool) -> None:
    from mlxbuild.registry.oci.exchange.catalogue import list_tags

    home = chosen_home()
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
