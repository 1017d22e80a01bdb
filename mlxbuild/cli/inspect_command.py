"""`mlxbuild inspect`: shows an artifact in the store or at a registry, without fetching its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.transfer_display import shown
from mlxbuild.cli.workspace import find, open_store
from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.artifact.referrers import referrers
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.inspection import inspect
from mlxbuild.registry.oci.exchange.transfers import named_blobs
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.registry.trust.statement import PREDICATE_ANNOTATION

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild inspect ghcr.io/acme/hello:int4@1.0")
def inspect_artifact(
    name: Annotated[str, typer.Argument(help="An artifact of the store, or host/name:tag at a registry.")],
    remote: Annotated[bool, typer.Option("--remote", help="Ask the registry even if the store has it.")] = False,
    manifest: Annotated[bool, typer.Option("--manifest", help="Print the manifest, byte for byte.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show an artifact's config, files and referrers. A name that is not in the store is looked up at its registry,
    from which only the manifest and the config are fetched."""
    with open_store() as store:
        described, data = _local(store, name, remote=remote) or _remote(store, name)
    if manifest:
        say(data.decode())
    elif as_json:
        say_json(described)
    else:
        _print(described)


def _local(store: Store, name: str, *, remote: bool) -> tuple[dict[str, Any], bytes] | None:
    if remote:
        return None
    try:
        _, digest = find(store, name)
    except UnknownReference:
        if Reference.parse(name).host is None and Settings.load(store.home).default_registry is None:
            raise
        return None
    manifest = manifests.read(store, digest)
    config = manifests.json_object(store.read(manifest.config.blob.digest), f"{digest} config")
    evidence = [each.manifest for each in referrers(store, digest)]
    return _described(name, "store", manifest, config, evidence), store.read(digest)


def _remote(store: Store, name: str) -> tuple[dict[str, Any], bytes]:
    with shown("none") as observe:
        found = inspect(store, Reference.parse(name), settings=Settings.load(store.home), observe=observe)
    evidence = [each.manifest for each in found.referrers]
    return _described(name, found.name, found.manifest, found.config, evidence), found.raw.data


def _described(
    name: str, where: str, manifest: Manifest, config: Mapping[str, Any], evidence: Sequence[Manifest]
) -> dict[str, Any]:
    blobs = {manifest.blob, *(item.blob for item in named_blobs(manifest))}
    return {
        "name": name,
        "where": where,
        "digest": str(manifest.blob.digest),
        "type": manifest.artifact_type or manifest.config.media_type,
        "size": sum(blob.size_bytes for blob in blobs),
        "annotations": dict(manifest.annotations),
        "config": dict(config),
        "files": [
            {
                "path": item.name,
                "digest": str(item.blob.digest),
                "size": item.blob.size_bytes,
            }
            for item in named_blobs(manifest)
        ],
        "referrers": [
            {
                "digest": str(each.blob.digest),
                "type": each.artifact_type or each.config.media_type,
                "annotations": dict(each.annotations),
            }
            for each in evidence
        ],
    }


def _print(described: Mapping[str, Any]) -> None:
    say(f"{described['name']}  {described['digest']}")
    say(f"  where: {described['where']}")
    say(f"  type: {described['type']}")
    say(f"  size: {format_bytes(described['size'])}")
    for part in ("descriptor", "config"):
        for key, value in _map(described["config"].get(part)).items():
            if isinstance(value, str | int | float) or (isinstance(value, list) and value):
                say(f"  {key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    say("  files:")
    for file in described["files"]:
        say(f"    {file['path']}  {format_bytes(file['size'])}  {Digest.parse(file['digest']).short}")
    for each in described["referrers"]:
        kind = each["annotations"].get(PREDICATE_ANNOTATION) or each["type"]
        say(f"  attached: {kind}  {Digest.parse(each['digest']).short}")


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
