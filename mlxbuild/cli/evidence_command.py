"""`mlxbuild evidence`: shows what is attached to an artifact, and who signed it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mlxbuild.cli.command import Command
from mlxbuild.cli.locate import find_anywhere
from mlxbuild.cli.output import say_json, say_table
from mlxbuild.cli.workspace import open_store, tell
from mlxbuild.registry.artifact.manifest import json_object
from mlxbuild.registry.artifact.referrers import Referrer
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.suggestions import did_you_mean
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.trust.evidence import Attestation, Evidence
from mlxbuild.registry.trust.keys import locate, read_public
from mlxbuild.registry.trust.statement import KINDS
from mlxbuild.toolchain.evidence.bill_of_materials import MEDIA_TYPE

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_DOCUMENTS = {MEDIA_TYPE: "bom"}
_ALSO_CALLED = {
    "sbom": "bom",
    "cyclonedx": "bom",
    "slsa": "provenance",
    "attestation": "provenance",
}
"""What people also call a kind, as other tools do."""


class NoEvidence(UserError):
    """An artifact has no evidence of that kind."""

    code = "no-evidence"


@app.command(
    cls=Command,
    epilog=("mlxbuild evidence hello:int4@1.0 --key acme.pub\nmlxbuild evidence hello:int4@1.0 --show provenance"),
)
def show_evidence(
    name: Annotated[
        str, typer.Argument(help="Name or digest of an artifact, or the path of an OCI layout or archive of one.")
    ],
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="A public key to verify signatures with; may be repeated."),
    ] = None,
    show: Annotated[
        str | None, typer.Option(metavar="signature|provenance|gates|bom", help="Print only evidence of this kind.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not contact a registry.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List signatures, provenance, gate results and bills of materials of an artifact.

    An artifact that is not in the store is looked up in the registry in its name, and not kept.
    """
    with (
        open_store() as home_store,
        find_anywhere(home_store, name, offline=offline, evidence_alone=True) as (
            store,
            digest,
        ),
    ):
        keys = [read_public(locate(home_store.home, each, ".pub")) for each in key or ()]
        evidence = Evidence.gather(store, digest, keys)
        rows = [
            *(_attestation(each, known=bool(keys)) for each in evidence.attestations),
            *(_document(each) for each in evidence.documents),
        ]
        if show is not None:
            _print_one(store, evidence, show, name)
            return
    if as_json:
        say_json({"digest": str(digest), "evidence": rows})
    elif rows:
        say_table(
            ("KIND", "STATE", "DIGEST"), [(row["kind"], row["state"], row["digest"].split(":")[1][:12]) for row in rows]
        )
    else:
        tell("nothing is attached")


def _attestation(attestation: Attestation, *, known: bool) -> dict[str, Any]:
    if attestation.problem is None and attestation.signer is not None:
        state = f"signed by {attestation.signer.fingerprint.short}"
    elif attestation.statement is None or known:
        state = f"invalid: {attestation.problem}"
    else:
        state = "not checked: give --key"
    signer = attestation.signer
    return {
        "kind": attestation.kind,
        "type": attestation.predicate_type,
        "digest": str(attestation.referrer.digest),
        "state": state,
        "key": None if signer is None else str(signer.fingerprint),
        "problem": attestation.problem if known else None,
    }


def _document(referrer: Referrer) -> dict[str, Any]:
    kind = "".join(letter if letter.isprintable() else "?" for letter in referrer.artifact_type)  # untrusted text
    return {
        "kind": _DOCUMENTS.get(kind, kind),
        "type": kind,
        "digest": str(referrer.digest),
        "state": "not signed by itself",
        "key": None,
        "problem": None,
    }


def _print_one(store: Store, evidence: Evidence, kind: str, name: str) -> None:
    """Print the newest evidence of a kind: the predicate of a statement, or an unchanged document."""
    kind = _ALSO_CALLED.get(kind.lower(), kind)
    for attestation in reversed(evidence.attestations):
        if attestation.statement is not None and attestation.kind == kind:
            say_json(dict(attestation.statement.predicate))
            return
    for referrer in reversed(evidence.documents):
        if _DOCUMENTS.get(referrer.artifact_type) == kind and referrer.content is not None:
            say_json(json_object(store.read(referrer.content.digest), str(referrer.digest)))
            return
    kinds = [*KINDS.values(), *_DOCUMENTS.values()]
    if kind not in kinds:
        hint = did_you_mean(kind, kinds) or f"kinds are {', '.join(kinds)}"
    else:
        attached = dict.fromkeys(each.kind for each in evidence.attestations)
        attached |= dict.fromkeys(_DOCUMENTS.get(each.artifact_type, "other documents") for each in evidence.documents)
        hint = f"attached are {', '.join(attached)}" if attached else "nothing is attached to it"
    raise NoEvidence(f"it has no evidence of kind `{kind}`", where=name, hint=hint)
