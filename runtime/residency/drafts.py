"""Which draft model goes with which model, as the server's settings say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.protocol.failures import as_error, as_failure
from mlxbuild.runtime.residency.errors import DraftMissing


@dataclass(frozen=True, slots=True)
class Draft:
    """A model that drafts for another one."""

    reference: Reference
    digest: Digest
    target: Reference
    """The other one, as it was asked for."""
    where: str
    """What says that it drafts: a file and line, or a variable."""

    def told(self, error: MlxbuildError) -> MlxbuildError:
        """An error of the draft that says so: whoever asked for the other model knows nothing of it."""
        message = f"`{self.reference}` cannot draft for `{self.target}`: {error.message}"
        hint = "; ".join(filter(None, (error.hint, f"`drafts` is set by {self.where}")))
        return as_error(replace(as_failure(error), message=message, hint=hint))


@dataclass(frozen=True, slots=True)
class Drafts:
    """Names of drafts by patterns of the models that they draft for; the first pattern that matches decides."""

    names: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    """What says so."""

    def of(self, store: Store, reference: Reference, digest: Digest) -> Draft | None:
        """What drafts for an artifact that is asked for under a name; None where nothing does.

        All of its names in the store count, so that it does not matter by which of them it is loaded. A model that
        would draft for itself has none.

        Raises:
            DraftMissing: it is not in the store.
            StoreFailure: the tags cannot be read.
        """
        targets = (reference, *store.tags.names_of(digest))
        name = next(
            (name for pattern, name in self.names.items() if any(target.matches(pattern) for target in targets)), None
        )
        if name is None:
            return None
        parsed = Reference.parse(name)
        try:
            found = store.tags.resolve(parsed)
        except UnknownReference as error:
            raise DraftMissing(
                f"`{name}` cannot draft for `{reference}`: it is not in the store",
                hint=f"build or pull it, or change `drafts`, which is set by {self.where}; {error.hint}",
            ) from None
        return None if found == digest else Draft(parsed, found, reference, self.where)
