"""`mlxbuild show`: shows what is in an artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from textwrap import indent

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.holding import weights_told
from mlxbuild.cli.memory import expected_need, memory_content, memory_told
from mlxbuild.cli.output import say, say_json, say_table
from mlxbuild.cli.workspace import find, open_store
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.runtime.model.batched import recall
from mlxbuild.runtime.model.files import FACTS_FILE, TEMPLATE_FILE
from mlxbuild.runtime.residency.memory_need import MemoryNeed
from mlxbuild.toolchain.weights.accuracy import accuracies_of, accuracy_content, errors_told
from mlxbuild.toolchain.weights.accuracy import told as accuracy_told

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class NotInArtifact(UserError):
    """An artifact does not have the requested content."""

    code = "not-in-artifact"


@app.command(cls=Command, epilog=("mlxbuild show hello:int4\nmlxbuild show hello:int4 --recipe"))
def show(
    name: str = typer.Argument(help="Name or digest of an artifact."),
    files: bool = typer.Option(False, "--files", help="List every file."),
    recipe: bool = typer.Option(False, "--recipe", help="Print the resolved recipe in it."),
    template: bool = typer.Option(False, "--template", help="Print its chat template."),
    manifest: bool = typer.Option(False, "--manifest", help="Print the manifest as stored."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show an artifact's description, defaults, facts and files."""
    with open_store() as store:
        _, digest = find(store, name)
        artifact = Artifact.open(store, digest)
        if manifest:
            say(store.read(digest).decode())
        elif recipe:
            from mlxbuild.toolchain.rebuild import RECIPE_FILE

            hint = "only artifacts that mlxbuild built have one"
            say(_carried(artifact, RECIPE_FILE, "contains no recipe", hint))
        elif template:
            hint = "it only completes raw prompts; a recipe sets a template with `prompt_template`"
            say(_carried(artifact, TEMPLATE_FILE, "has no chat template", hint))
        elif as_json:
            say_json(_describe(artifact, recall(store.home, digest), expected_need(store, digest)))
        else:
            _print(name, artifact, recall(store.home, digest), expected_need(store, digest), with_files=files)


def _carried(artifact: Artifact, path: str, lack: str, hint: str) -> str:
    if artifact.file(path) is None:
        raise NotInArtifact(f"the artifact {lack}", where=str(artifact.digest), hint=hint)
    return artifact.read_text(path)


def _describe(artifact: Artifact, batched: str | None, need: MemoryNeed | None) -> dict[str, object]:
    return {
        "digest": str(artifact.digest),
        "size": artifact.size_bytes,
        "memory": memory_content(artifact, need),
        "annotations": dict(artifact.annotations),
        "config": dict(artifact.config),
        "defaults": _read_json(artifact, "mlxbuild/defaults.json"),
        "facts": _read_json(artifact, "mlxbuild/facts.json"),
        "accuracy": accuracy_content(artifact),
        "batched": batched,
        "files": [
            {
                "path": file.path,
                "role": file.role.value,
                "digest": str(file.blob.digest),
                "size": file.blob.size_bytes,
            }
            for file in artifact.files
        ],
    }


def _print(name: str, artifact: Artifact, batched: str | None, need: MemoryNeed | None, *, with_files: bool) -> None:
    descriptor, settings = artifact.config["descriptor"], artifact.config["config"]
    is_digest = artifact.digest.hex.startswith(name.removeprefix("sha256:"))
    say(str(artifact.digest) if is_digest else f"{name}  {artifact.digest}")
    title = str(descriptor.get("title") or descriptor.get("name") or "")
    if title and title != name:
        say(f"  title: {title}")
    if descriptor.get("description"):
        say(f"  {descriptor['description']}")
    defaults, facts = (_read_json(artifact, path) for path in ("mlxbuild/defaults.json", "mlxbuild/facts.json"))
    _print_lines(
        {
            "parameters": settings.get("paramSize"),
            "size": format_bytes(artifact.size_bytes),
            "in memory": memory_told(artifact, need),
            "context": f"{length} tokens" if (length := _context_length(facts)) else None,
            "quantization": told if (told := weights_told(artifact)) != settings.get("precision") else None,
        }
    )
    _print_map("defaults", defaults)
    _print_lines(
        {
            "against its source": "; ".join(
                filter(None, (accuracy_told(accuracies_of(artifact)), errors_told(artifact)))
            ),
            "computes in": _computes_in(artifact),
            "licenses": ", ".join(descriptor.get("licenses", [])),
            "family": descriptor.get("family"),
            "precision": settings.get("precision"),
            "revision": descriptor.get("revision"),
            "batches": batched,
        }
    )
    _print_map("facts", facts)
    if with_files:
        say_table(
            ("  PATH", "ROLE", "SIZE", "DIGEST"),
            [
                (f"  {file.path}", file.role.value, format_bytes(file.blob.size_bytes), file.blob.digest.short)
                for file in artifact.files
            ],
        )
    else:
        say(f"  files: {len(artifact.files)} (`--files` lists them)")


def _print_lines(lines: Mapping[str, object]) -> None:
    for key, value in lines.items():
        if value:
            say(f"  {key}: {value}")


def _context_length(facts: object) -> object:
    return facts.get("context_length") if isinstance(facts, dict) else None


def _computes_in(artifact: Artifact) -> str | None:
    """The dtype that MLX computes in, if it is not that of the weights."""
    facts = _read_json(artifact, FACTS_FILE)
    dtype = facts.get("compute_dtype") if isinstance(facts, dict) else None
    return f"{dtype}, and keeps keys and values in it" if dtype else None


def _print_map(heading: str, content: object) -> None:
    """Print one line for each value that is not empty; nested mappings are printed as JSON."""
    if not isinstance(content, dict):
        return
    flat = {**content, **content["parameters"]} if isinstance(content.get("parameters"), dict) else content
    told = {key: value for key, value in flat.items() if key != "parameters" and value not in (None, [], {}, "")}
    if told:
        say(f"  {heading}:")
    for key, value in told.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        say(f"    {key}: {text}" if "\n" not in text else f"    {key}:\n{indent(text.rstrip(), ' ' * 6)}")


def _read_json(artifact: Artifact, path: str) -> object:
    return artifact.read_object(path) if artifact.file(path) else None
