"""`mlxbuild list`: what is in the store."""

from __future__ import annotations

import typer

from mlxbuild.cli.output import say, say_json, say_table
from mlxbuild.cli.workspace import open_store
from registry.artifact.reader import Artifact
from registry.errors import MlxbuildError
from registry.quantities import format_bytes

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def list_artifacts(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """List the artifacts in the store with their names, digests and sizes."""
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
                    "quantization": settings.get("quantization") or settings.get("precision", ""),
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
        say("no artifacts yet: build one with `mlxbuild create -f ModelSpec.yaml`")
