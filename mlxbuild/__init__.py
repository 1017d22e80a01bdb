"""Floor 4: the front door. The public Python names are here; the command line is in `mlxbuild.cli`.

Nothing is imported before it is asked for: a command first sees to it that signals end it in order.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["MlxbuildError", "__version__", "load"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlxbuild.registry.digest import Digest
    from mlxbuild.registry.errors import MlxbuildError
    from mlxbuild.runtime.loaded_model import LoadedModel


def __getattr__(name: str) -> object:
    if name != "MlxbuildError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mlxbuild.registry.errors import MlxbuildError

    return MlxbuildError


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(reference: str, *, draft: str | None = None) -> LoadedModel:
    """Open a built model by its reference (`hello:int4`), without any server.

    `draft` names a smaller model with the same tokens, which makes an answer faster that is the only one.

    Raises:
        UnknownReference: no artifact of that name is in the store.
        Untrusted: the trust policy asks for a signature that it does not have. What it warns of goes to `logging`.
        DraftUnusable: the draft has other tokens, or only embeds.
        MlxbuildError: the model cannot be loaded.
    """
    import logging

    from mlxbuild.registry.home import Home
    from mlxbuild.registry.reference import Reference
    from mlxbuild.registry.store.layout import Store
    from mlxbuild.registry.trust.policy import admit
    from mlxbuild.runtime.loaded_model import LoadedModel
    from mlxbuild.toolchain.interchange.completion import completed

    store = Store.open(Home.from_environment())

    def found(name: str) -> Digest:
        parsed = Reference.parse(name)
        digest = store.tags.resolve(parsed)
        admit(store, parsed, digest, tell=logging.getLogger("mlxbuild").warning)
        return completed(store, digest)

    drafting = None if draft is None else LoadedModel.open(store, found(draft))
    return LoadedModel.open(store, found(reference), draft=drafting)
