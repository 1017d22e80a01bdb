"""`mlxbuild verify`: is an artifact what it says it is, and does its recipe give it again?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from mlxbuild.cli.display import progress_sink
from mlxbuild.cli.output import say, say_json
from mlxbuild.cli.workspace import find, open_store
from registry.artifact.reader import Artifact
from registry.artifact.verification import verify
from registry.digest import Digest
from registry.errors import TrustError
from registry.quantities import format_bytes, format_seconds
from registry.store.layout import Store
from toolchain.agreement import disagreements
from toolchain.cache.history import History
from toolchain.events.journal import new_run_name
from toolchain.events.stream import EventStream
from toolchain.prepare import RECIPE_NAME
from toolchain.rebuild import rebuild

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class VerificationFailed(TrustError):
    """An artifact is not what it says."""

    code = "verification-failed"


@app.command()
def verify_artifact(
    name: Annotated[str, typer.Argument(help="Name or digest of an artifact.")],
    again: Annotated[bool, typer.Option("--rebuild", help="Also build it again and compare the digests.")] = False,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="Where its recipe lies, for --rebuild.")] = None,
    jobs: Annotated[int | None, typer.Option("-j", "--jobs", min=1, help="Blobs hashed at once.")] = None,
    progress: Annotated[str, typer.Option(help="auto, live, plain, github or none; for --rebuild.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check every blob, the config, and that recipe, lock and files agree. Damaged blobs are set aside."""
    begun = time.perf_counter()
    with open_store() as store:
        _, digest = find(store, name)
        report = verify(store, digest, jobs=jobs)
        problems = [f"{problem.where}: {problem.message}" for problem in report.problems]
        for damaged in {problem.digest for problem in report.problems if problem.kind.value in ("digest", "size")}:
            if damaged is not None:
                store.quarantine(damaged)
        if not problems:
            problems += disagreements(Artifact.open(store, digest))
        seconds = time.perf_counter() - begun
        rebuilt = str(_rebuild(store, digest, file, progress)) if again and not problems else None
    if as_json:
        say_json({"digest": str(digest), "ok": not problems, "problems": problems, "rebuilt": rebuilt})
    elif not problems:
        say(
            f"{digest} holds: {report.checked_blobs} blobs, {format_bytes(report.checked_bytes)} "
            f"in {format_seconds(seconds)}; recipe and lock agree"
        )
        if rebuilt:
            say(f"{rebuilt} came out again from recipe and lock")
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise VerificationFailed(
            f"{len(problems)} promises are broken{listed}",
            where=name,
            hint="damaged blobs were set aside: the next `mlxbuild create` makes them again",
        )


def _rebuild(store: Store, digest: Digest, file: Path | None, progress: str) -> Digest:
    recipe = file or History(store.home).recipe_of(digest) or Path(RECIPE_NAME)
    stream = EventStream([progress_sink(progress)])
    try:
        return rebuild(Artifact.open(store, digest), recipe.absolute(), stream, run=new_run_name())
    finally:
        stream.close()
