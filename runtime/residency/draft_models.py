"""Which draft model is used with which model for speculative decoding, by the server's settings."""

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
class DraftModel:
    """A draft model for a target model."""

    reference: Reference
    digest: Digest
    target: Reference
    """The target model, by the name in the request."""
    where: str
    """Where the setting comes from: a file and line, or a variable."""

    def told(self, error: MlxbuildError) -> MlxbuildError:
        """The error, with a message that names the draft: whoever asked for the target may not know that it has one."""
        message = f"`{self.reference}` cannot draft for `{self.target}`: {error.message}"
        hint = "; ".join(filter(None, (error.hint, f"`drafts` is set by {self.where}")))
        return as_error(replace(as_failure(error), message=message, hint=hint))


@dataclass(frozen=True, slots=True)
class DraftModels:
    """Names of draft models by patterns of their target models; the first pattern that matches applies."""

    names: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    """Where the setting comes from."""

    def of(self, store: Store, reference: Reference, digest: Digest) -> DraftModel | None:
        """The draft for an artifact that was requested by a name; None if there is none.

        All names of the artifact in the store are matched, so it does not matter by which one it is loaded. A model is
        never its own draft.

        Raises:
            DraftMissing: the draft is not in the store.
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
        return None if found == digest else DraftModel(parsed, found, reference, self.where)
