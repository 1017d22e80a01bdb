"""`mlxbuild ps`: lists the models that a server has in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.output import say_json, say_table
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.quantities import format_bytes, format_seconds

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild ps")
def residents(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the models that the running server has in memory, how they are loaded, and until when."""
    from mlxbuild.serving.client import Server

    models = Server.require(chosen_home()).get("/api/ps")["models"]
    if as_json:
        say_json(models)
    elif models:
        say_table(
            ("NAME", "DIGEST", "DISK", "WEIGHTS", "MEMORY", "LOADED AS", "DRAFT", "CONTEXT", "REQUESTS", "UNTIL"),
            [
                (
                    model["name"],
                    model["digest"][:12],
                    "-" if model["size_disk"] is None else format_bytes(model["size_disk"]),
                    format_bytes(model["memory"]["weights"]),
                    format_bytes(model["size"]),
                    _held(model["holding"], model["kv_bits"], model["batched"]),
                    "-" if model["draft"] is None else model["draft"]["name"],
                    str(model["context_length"] or "-"),
                    str(model["requests"]),
                    _until(model),
                )
                for model in models
            ],
        )
    else:
        tell("no models are in memory")


def _held(holding: dict[str, Any], kv_bits: int | None, batched: str) -> str:
    """How a model is loaded, such as `cpu, float32 (dequantized), openblas, compiled, 8-bit context`."""
    form = f"{holding['dtype']} (dequantized)" if holding["dequantized"] else holding["dtype"]
    compiled = "compiled" if holding["compiled"] else None
    context = f"{kv_bits}-bit context" if kv_bits else None
    together = None if batched == "prompts and answers" else f"batches {batched}"
    return ", ".join(part for part in (holding["device"], form, holding["blas"], compiled, context, together) if part)


def _until(model: dict[str, Any]) -> str:
    if model["forever"]:
        return "forever"
    left = datetime.fromisoformat(model["expires_at"]) - datetime.now(UTC)
    return f"in {format_seconds(max(0.0, left.total_seconds()))}"
