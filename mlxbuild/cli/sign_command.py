"""`mlxbuild sign`: attaches a signature and signed evidence to an artifact."""

from __future__ import annotations

from typing import Annotated

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.workspace import find, open_store, require_writable, tell
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.trust.keys import locate, password_from_environment, read_private
from mlxbuild.toolchain.evidence.signing import sign_artifact
from mlxbuild.toolchain.rebuild import has_gates

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=Command, epilog="mlxbuild sign hello:int4@1.0 --key acme")
def sign(
    name: Annotated[str, typer.Argument(help="Name or digest of an artifact.")],
    key: Annotated[str, typer.Option("--key", help="A private key: a PEM file, or a name in the home's `keys`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Sign an artifact, its provenance and its gate results, and attach its bill of materials. Needs no network."""
    with open_store() as store:
        require_writable(store)
        private = read_private(locate(store.home, key, ".key"), password_from_environment())
        _, digest = find(store, name)
        artifact = Artifact.open(store, digest)
        signed = sign_artifact(artifact, private)
        lacks_results = signed.gate_results is None and has_gates(artifact)
    attached = {
        "signature": signed.signature,
        "provenance": signed.provenance,
        "bill of materials": signed.bill_of_materials,
        "gate results": signed.gate_results,
    }
    made = {kind: str(referrer.digest) for kind, referrer in attached.items() if referrer is not None}
    if as_json:
        say_json({"digest": str(digest), "key": str(private.public.fingerprint), "attached": made})
        return
    for kind, referrer_digest in made.items():
        say(f"{kind} {referrer_digest}")
    if signed.provenance is None:
        tell("the artifact has no recipe and lock, so only a signature was attached")
    if lacks_results:
        tell(
            "warning: no gate results were signed, because none are known here: "
            "`mlxbuild create` runs the gates of the recipe; then sign again"
        )
