"""Whether the models are there that a server loads when it begins. Their loads are the matter of its process."""

from __future__ import annotations

from mlxbuild.configuration.resolve import Configuration
from mlxbuild.registry.core.reference import InvalidReference
from mlxbuild.registry.oci.remote.errors import InvalidSettings
from mlxbuild.registry.oci.remote.settings import SERVE_KEY
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.server.names import find_model


def require_first_models(store: Store, configuration: Configuration) -> None:
    """Refuse names that nothing in the store has: such a server would say that it is ready, without its models.

    Raises:
        InvalidSettings: with the setting, and where it was written.
        StoreFailure: the tags cannot be read.
    """
    for key, names in (("preload", configuration.form.preload), ("pin", configuration.form.pin)):
        for name in names:
            try:
                find_model(store, name)
            except (InvalidReference, UnknownReference) as error:
                raise InvalidSettings(
                    f"`{SERVE_KEY}.{key}` cannot name `{name}`: {error.message}",
                    where=configuration.origins[key],
                    hint=error.hint,
                ) from None
