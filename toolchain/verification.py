"""Verifies an artifact in the store: its blobs by digest, and whether recipe, lock and files agree."""

from __future__ import annotations

from dataclasses import dataclass

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.verification import verify
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import TrustError
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.agreement import disagreements, is_built


class VerificationFailed(TrustError):
    """An artifact failed its verification."""

    code = "verification-failed"


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying an artifact."""

    digest: Digest
    checked_blobs: int
    checked_bytes: int
    problems: tuple[str, ...]
    """One sentence each, with the location."""
    is_built: bool
    """Whether it has a recipe and a lock, as artifacts of other tools do not. False if there are problems."""
    has_quarantined: bool = False
    """Whether damaged blobs were set aside just now."""

    def require(self, name: str) -> None:
        """Check that there are no problems; `name` is the artifact's name in the message.

        Raises:
            VerificationFailed: there are problems.
        """
        if self.problems:
            listed = "".join(f"\n  {problem}" for problem in self.problems)
            count = len(self.problems)
            raise VerificationFailed(
                f"{count} check{'' if count == 1 else 's'} failed{listed}",
                where=name,
                hint="damaged blobs were quarantined: the next `mlxbuild create` builds them again"
                if self.has_quarantined
                else "`mlxbuild create` builds it again, or `mlxbuild pull` fetches it again",
            )


def verify_artifact(store: Store, digest: Digest, *, jobs: int | None = None) -> Verification:
    """Verify every blob, the config, and that recipe, lock and files agree. Damaged blobs are set aside.

    Raises:
        MlxbuildError: the artifact's recipe or lock cannot be read.
    """
    report = verify(store, digest, jobs=jobs)
    damaged = {each.digest for each in report.problems if each.digest and each.kind.value in ("digest", "size")}
    for blob in damaged:
        store.quarantine(blob)
    problems = tuple(f"{problem.where}: {problem.message}" for problem in report.problems)
    built = False
    if not problems:
        artifact = Artifact.open(store, digest)
        built = is_built(artifact)
        problems = disagreements(artifact) if built else ()
    return Verification(digest, report.checked_blobs, report.checked_bytes, problems, built, bool(damaged))
